"""Encode protocol buffers and TFRecord files, by the tables that the readers decode with."""

import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def varint(value: int) -> bytes:
    """Encode a whole number, modulo 2^64, with 7 bits a byte."""
    value, out = value % (1 << 64), bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def encode(message: Mapping[str, Any], table: Mapping[int, Any], packed: bool = False) -> bytes:
    """Encode a message by the table of its type; a value of a "span" field is bytes."""
    fields = {field.name: (number, field) for number, field in table.items()}
    out = b""
    for name, value in message.items():
        number, field = fields[name]
        if field.repeated and packed and field.kind in ("double", "float", "int"):
            inner = b"".join(scalar(field.kind, v)[1] for v in value)
            out += varint(number << 3 | 2) + varint(len(inner)) + inner
            continue
        items: list[Any] = value if field.repeated else [value]
        for item in items:
            if isinstance(field.kind, dict) or isinstance(item, str | bytes):
                inner: Any = encode(item, field.kind, packed) if isinstance(field.kind, dict) else item
                inner = inner.encode() if isinstance(inner, str) else inner
                out += varint(number << 3 | 2) + varint(len(inner)) + inner
            else:
                wire, data = scalar(field.kind, item)
                out += varint(number << 3 | wire) + data
    return out


def scalar(kind: str, value: Any) -> tuple[int, bytes]:
    """Encode a number; return its wire type and its bytes."""
    return {
        "int": lambda: (0, varint(int(value))),
        "double": lambda: (1, struct.pack("<d", value)),
        "float": lambda: (5, np.float32(value).tobytes()),
    }[kind]()


def crc32c(data: bytes) -> int:
    """Compute the checksum CRC-32C by its definition, bit by bit."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def mask_crc(crc: int) -> bytes:
    """Encode a checksum as TFRecord files store it."""
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)


def tfrecord(records: Iterable[bytes]) -> bytes:
    """Encode a TFRecord file."""
    parts = []
    for record in records:
        length = struct.pack("<Q", len(record))
        parts += [length, mask_crc(crc32c(length)), record, mask_crc(crc32c(record))]
    return b"".join(parts)
