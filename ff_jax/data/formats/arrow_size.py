"""How many bytes the record batches of a feather (Arrow IPC) file decode to, from its headers.

Every compressed buffer of a batch begins with its length as a 64-bit integer. Where the buffers are is in the batch's
header, a FlatBuffers table (https://arrow.apache.org/docs/format/Columnar.html, https://flatbuffers.dev/internals/).
"""

import struct
from pathlib import Path

from ff_jax.runtime.untrusted_files import check_decoded_size, read_file

_MAGIC = b"ARROW1\0\0"
_HEADER, _BUFFERS, _COMPRESSION = 2, 2, 3  # numbers of the fields of the tables Message and RecordBatch


def check_feather_size(path: Path) -> None:
    """Check the size that a feather file claims to decode to against its own.

    Raises:
        UnreadableFileError: it is too large for the file.
        Exception: the file is damaged (pyarrow raises many types).
    """
    from pyarrow import BufferReader, ipc

    data = read_file(path)
    if not data.startswith(_MAGIC):
        return  # version 1, which does not compress
    reader, claimed = ipc.MessageReader.open_stream(BufferReader(data[len(_MAGIC) :])), 0
    for message in reader:
        if message.type != "schema" and message.body is not None:
            claimed += _claimed(message.metadata.to_pybytes(), message.body.to_pybytes())
    check_decoded_size(path, claimed, len(data))


def _claimed(metadata: bytes, body: bytes) -> int:
    """Sum the lengths that the compressed buffers of a record batch state."""
    batch = _follow(metadata, _field(metadata, _follow(metadata, 0), _HEADER))
    compression, buffers = (_field(metadata, batch, number) for number in (_COMPRESSION, _BUFFERS))
    if not compression or not buffers:
        return 0  # the buffers are as long as in the file
    start = _follow(metadata, buffers)
    (count,) = struct.unpack_from("<I", metadata, start)
    places = [struct.unpack_from("<qq", metadata, start + 4 + 16 * index) for index in range(count)]
    return sum(max(struct.unpack_from("<q", body, offset)[0], 0) for offset, length in places if length >= 8)


def _follow(data: bytes, place: int) -> int:
    """Follow the offset at a place."""
    return place + struct.unpack_from("<I", data, place)[0]


def _field(data: bytes, table: int, number: int) -> int:
    """Find the place of a field of a table; 0 if the table has no such field."""
    rules = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, rules)
    if 4 + 2 * number >= size:
        return 0
    (offset,) = struct.unpack_from("<H", data, rules + 4 + 2 * number)
    return table + offset if offset else 0
