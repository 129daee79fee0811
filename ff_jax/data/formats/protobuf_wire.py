"""Decode protocol buffers by tables of fields, without generated classes.

A table maps a field's number to a `Field`; fields that it does not list are skipped, which is what makes reading
the small parts of large messages fast. The wire format: https://protobuf.dev/programming-guides/encoding.
"""

import struct
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
SIZES = {FIXED64: 8, FIXED32: 4}
NUMBERS = {"double": np.dtype("<f8"), "float": np.dtype("<f4")}
FORMATS = {"double": "<d", "float": "<f"}


class Field(NamedTuple):
    """One field of a message.

    `kind` is "int", "double", "float", "string", "span" (its place (start, stop) in the buffer, for bytes that are
    read later) or the table of a nested message.
    """

    name: str
    kind: "str | Mapping[int, Field]"
    repeated: bool = False


def decode(data: bytes | memoryview, table: Mapping[int, Field], start: int = 0, stop: int | None = None) -> dict:
    """Return the fields of the message in data[start:stop] by name.

    Repeated fields are lists, repeated numbers of the kinds double and float arrays; a field that is absent is an
    empty list or None.

    Raises:
        ValueError: the bytes are no such message.
    """
    message = {f.name: ([] if f.repeated else None) for f in table.values()}
    position, stop = start, len(data) if stop is None else stop
    while position < stop:
        key, position = _varint(data, position, stop)
        wire, field = key & 7, table.get(key >> 3)
        value, position = _value(data, wire, position, stop)
        if field is None:
            continue
        decoded = _convert(data, field, wire, value)
        if field.repeated:
            message[field.name] += decoded if isinstance(decoded, list) else [decoded]
        else:
            message[field.name] = decoded
    numbers = [f for f in table.values() if f.repeated and isinstance(f.kind, str) and f.kind in NUMBERS]
    return message | {f.name: np.concatenate([np.zeros(0, NUMBERS[f.kind]), *message[f.name]]) for f in numbers}


def _value(data: bytes | memoryview, wire: int, position: int, stop: int) -> tuple[int | tuple[int, int], int]:
    """Return an integer or the span of a value, and the position behind it."""
    if wire == VARINT:
        return _varint(data, position, stop)
    if wire == BYTES:
        length, position = _varint(data, position, stop)
    elif wire in SIZES:
        length = SIZES[wire]
    else:
        raise ValueError(f"not a protocol buffer of this kind: wire type {wire} at byte {position}")
    if position + length > stop:
        raise ValueError(f"a field at byte {position} ends behind its message")
    return (position, position + length), position + length


def _convert(data: bytes | memoryview, field: Field, wire: int, value: int | tuple[int, int]):
    if wire == VARINT:
        _expect(field, field.kind == "int")
        return value - (1 << 64) if value >> 63 else value
    start, stop = value
    if wire != BYTES:
        _expect(field, FORMATS.get(str(field.kind)) is not None and NUMBERS[field.kind].itemsize == stop - start)
        if field.repeated:
            return np.frombuffer(data, NUMBERS[field.kind], 1, start)
        return struct.unpack_from(FORMATS[field.kind], data, start)[0]
    if isinstance(field.kind, Mapping):
        return decode(data, field.kind, start, stop)
    if field.kind == "string":
        return bytes(data[start:stop]).decode()
    if field.kind in NUMBERS:
        _expect(field, field.repeated and (stop - start) % NUMBERS[field.kind].itemsize == 0)
        return np.frombuffer(data, NUMBERS[field.kind], (stop - start) // NUMBERS[field.kind].itemsize, start)
    if field.kind == "int":
        return _packed(data, start, stop)
    return start, stop


def _packed(data: bytes | memoryview, start: int, stop: int) -> list[int]:
    values = []
    while start < stop:
        value, start = _varint(data, start, stop)
        values.append(value - (1 << 64) if value >> 63 else value)
    return values


def _varint(data: bytes | memoryview, position: int, stop: int) -> tuple[int, int]:
    value = shift = 0
    while position < stop and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
    raise ValueError(f"an integer at byte {position} does not end")


def _expect(field: Field, holds: bool) -> None:
    if not holds:
        raise ValueError(f"field {field.name!r} is of another type")
