"""Decode protocol buffers by tables of fields, without generated classes.

A table maps the number of a field to a `Field`; other fields are skipped, so small parts of large messages are read
fast. Images and range images are read later, from their byte span in the file. The package `protobuf` copies such
bytes into its messages and does not report their position, so each load would parse a whole record of some megabytes;
that is why this module exists. The wire format: https://protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
SIZES = {FIXED64: 8, FIXED32: 4}
NUMBERS = {"double": np.dtype("<f8"), "float": np.dtype("<f4")}


class Field(NamedTuple):
    """One field of a message.

    `kind` is "int", "double", "float", "string", "span" (position (start, stop) in the buffer, for bytes that are read
    later) or the table of a nested message.
    """

    name: str
    kind: "str | Mapping[int, Field]"
    repeated: bool = False


def decode(data: bytes | memoryview, table: Mapping[int, Field], start: int = 0, stop: int | None = None) -> dict:
    """Decode the message in data[start:stop] to its fields by name.

    Repeated fields are lists (arrays for double and float); an absent field is an empty list or None.

    Raises:
        ValueError: the bytes are not such a message.
    """
    message: dict[str, Any] = {f.name: ([] if f.repeated else None) for f in table.values()}
    position, stop = start, len(data) if stop is None else stop
    while position < stop:
        key, position = _varint(data, position, stop)
        wire, field = key & 7, table.get(key >> 3)
        value, position = _value(data, wire, position, stop)
        if field is None:
            continue
        converted = _convert(data, field, wire, value)
        if field.repeated:
            message[field.name] += converted if isinstance(converted, list) else [converted]
        else:
            message[field.name] = converted
    for f in table.values():
        if f.repeated and isinstance(f.kind, str) and f.kind in NUMBERS:
            message[f.name] = np.concatenate([np.zeros(0, NUMBERS[f.kind]), *message[f.name]])
    return message


def _value(data: bytes | memoryview, wire: int, position: int, stop: int) -> tuple[int | tuple[int, int], int]:
    """Read an integer or the span of a value, and the position after it."""
    if wire == VARINT:
        return _varint(data, position, stop)
    if wire == BYTES:
        length, position = _varint(data, position, stop)
    elif wire in SIZES:
        length = SIZES[wire]
    else:
        raise ValueError(f"not a protocol buffer of this kind: wire type {wire} at byte {position}")
    if position + length > stop:
        raise ValueError(f"a field at byte {position} is longer than its message")
    return (position, position + length), position + length


def _convert(data: bytes | memoryview, field: Field, wire: int, value: int | tuple[int, int]) -> object:
    """Convert a value to the kind of its field."""
    if isinstance(value, int):
        _expect(field, field.kind == "int")
        return _signed(value)
    start, stop = value
    if wire != BYTES:
        number = NUMBERS.get(str(field.kind))
        _expect(field, number is not None and number.itemsize == stop - start)
        array = np.frombuffer(data, number, 1, start)
        return array if field.repeated else float(array[0])
    if isinstance(field.kind, Mapping):
        return decode(data, field.kind, start, stop)
    if field.kind == "string":
        return bytes(data[start:stop]).decode()
    if field.kind in NUMBERS:
        number = NUMBERS[field.kind]
        _expect(field, field.repeated and (stop - start) % number.itemsize == 0)
        return np.frombuffer(data, number, (stop - start) // number.itemsize, start)
    if field.kind == "int":
        return _packed(data, start, stop)
    return start, stop


def _packed(data: bytes | memoryview, start: int, stop: int) -> list[int]:
    values = []
    while start < stop:
        value, start = _varint(data, start, stop)
        values.append(_signed(value))
    return values


def _signed(value: int) -> int:
    """Convert 64 bits in two's complement to a signed integer."""
    return value - (1 << 64) if value >> 63 else value


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
