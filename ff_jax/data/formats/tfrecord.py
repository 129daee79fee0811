"""Read TFRecord files: records, each with its length and checksums of the length and of the bytes.

A record is: length (8 bytes, little endian), masked CRC-32C of these 8 bytes, the bytes, masked CRC-32C of them.
The mask is rotation by 15 bits plus 0xA282EAD8: https://www.tensorflow.org/tutorials/load_data/tfrecord.
The checksum is computed in NumPy, about 200 MB/s, which needs no further package.
"""

import functools
import struct
from pathlib import Path

import numpy as np
from jaxtyping import UInt32

from ff_jax.runtime.untrusted_files import check_regular

HEADER, FOOTER = 12, 4
POLYNOMIAL = 0x82F63B78  # Castagnoli, bits reversed


def index_records(path: Path) -> list[tuple[int, int]]:
    """List the offset and the length in bytes of every record; only headers are read and checked.

    Raises:
        ValueError: the file is missing, empty, truncated, or not a TFRecord file.
    """
    spans, position = [], 0
    size = check_regular(path)
    try:
        with open(path, "rb") as file:
            while position < size:
                file.seek(position)
                spans.append((position + HEADER, _length(file.read(HEADER), path, position)))
                position = sum(spans[-1]) + FOOTER
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); use the path of a TFRecord file.") from error
    if not spans or position > size:
        reason = "is empty" if not spans else f"ends in record {len(spans) - 1}, {position - size} byte(s) too early"
        raise ValueError(f"{path}: {reason}; download the file again.")
    return spans


def read_record(path: Path, offset: int, length: int) -> bytes:
    """Read and check a record that `index_records` found, after checking them.

    Raises:
        ValueError: the bytes do not have their checksum.
    """
    data = read_span(path, offset, length + FOOTER)
    (expected_crc,) = struct.unpack("<I", data[length:])
    if mask_crc(crc32c(data[:length])) != expected_crc:
        raise ValueError(f"{path}: the record at byte {offset} has a wrong checksum; download the file again.")
    return data[:length]


def read_span(path: Path, offset: int, length: int) -> bytes:
    """Read `length` bytes from `offset` on.

    Raises:
        ValueError: the file is missing or shorter.
    """
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(length)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); restore the file.") from error
    if len(data) != length:
        raise ValueError(f"{path}: ends {length - len(data)} byte(s) too early; download the file again.")
    return data


def mask_crc(crc: int) -> int:
    """Mask a checksum as a record stores it."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Compute the CRC-32C of `data`.

    The register is linear over GF(2) in itself and in the data, so many pieces are advanced together, four bytes at
    a time, and joined in pairs by the operator "advance by as many zero bits as the length of the piece".
    """
    if len(data) < 4:
        return _crc_of_few(data)
    depth = len(data).bit_length() // 2
    piece = 4 << depth  # bytes
    pieces = 1 << max(0, -(-len(data) // piece) - 1).bit_length()
    # Leading zeros do not change a register that starts at 0; the standard start, all ones, is a change of 4 bytes.
    padded = np.zeros(pieces * piece, np.uint8)
    padded[-len(data) :] = np.frombuffer(data, np.uint8)
    padded[-len(data) :][:4] ^= 0xFF
    words = np.ascontiguousarray(padded.view("<u4").reshape(pieces, -1).T)
    state = np.zeros(pieces, np.uint32)
    for word in words:
        state = _advance(state ^ word, 5)
    level = depth + 5
    while len(state) > 1:
        state = _advance(state[0::2], level) ^ state[1::2]
        level += 1
    return int(state[0]) ^ 0xFFFFFFFF


def _crc_of_few(data: bytes) -> int:
    state = np.full(1, 0xFFFFFFFF, np.uint32)
    for byte in data:
        state = _advance(state ^ np.uint32(byte), 3)
    return int(state[0]) ^ 0xFFFFFFFF


def _advance(state: UInt32[np.ndarray, "n"], level: int) -> UInt32[np.ndarray, "n"]:
    """Push 2**level zero bits through the register."""
    low, high = _tables(level)
    return low[state & 0xFFFF] ^ high[state >> 16]


@functools.cache
def _tables(level: int) -> UInt32[np.ndarray, "2 65536"]:
    """Tabulate the lower and the upper 16 bits of the register after 2**level zero bits."""
    if level == 0:
        images = np.array([POLYNOMIAL, *(1 << i for i in range(31))], np.uint32)
    else:
        units = np.uint32(1) << np.arange(32, dtype=np.uint32)
        images = _advance(_advance(units, level - 1), level - 1)
    tables = np.zeros((2, 1), np.uint32)
    for bit in range(16):
        tables = np.concatenate([tables, tables ^ images[[bit, bit + 16], None]], 1)
    return tables


def _length(header: bytes, path: Path, position: int) -> int:
    """Check a header and read its length."""
    if len(header) < HEADER:
        raise ValueError(f"{path}: ends in the header at byte {position}; download the file again.")
    length, expected_crc = struct.unpack("<QI", header)
    if mask_crc(crc32c(header[:8])) != expected_crc:
        raise ValueError(f"{path}: no TFRecord header at byte {position}; use an undamaged TFRecord file.")
    return length
