"""Files that decode to much more than they are, or claim to."""

import gzip
import io
import json
import pickle
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from experiments.studies.measures.robustness.outcomes import HANG, MAX_SECONDS, RUNS, SENTENCE
from experiments.studies.measures.robustness.writers.protobuf import tfrecord
from ff_jax.data import lazy_arrays
from ff_jax.data.formats import waymo_v1
from ff_jax.data.formats.common import read_columns
from ff_jax.data.formats.pandas_pickle import read_table
from ff_jax.data.ply_files import ply_points
from ff_jax.export.formats import files
from ff_jax.render.gaussians import GaussianArrays
from ff_jax.runtime.onnx_model import open_network
from ff_jax.runtime.untrusted_files import read_json
from ff_jax.runtime.weight_files import read_arrays

MAX_MAKING = 60.0  # seconds in which a bomb is made and read; reading it is bounded by MAX_SECONDS
_BLOCK = 1 << 25  # bytes of zeros that are compressed at a time


class Bomb(NamedTuple):
    """A file that decodes to much more than it is, or claims to."""

    name: str  # of the file
    make: Callable[[Path], object]  # writes the file
    read: Callable[[Path], object]
    allowed: tuple[str, ...] = (SENTENCE,)


def read_bomb(bomb: Bomb, folder: Path) -> str:
    """Make a bomb and read it; the bound of the time is that of reading.

    Raises:
        ValueError: it is refused.
    """
    path = folder / bomb.name
    bomb.make(path)
    begin = time.process_time()
    try:
        bomb.read(path)
    finally:
        is_slow = time.process_time() - begin > MAX_SECONDS
    return HANG if is_slow else RUNS


def _png(side: int) -> Callable[[Path], object]:
    """Write a PNG whose header states `side` x `side` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(1 << 24), 1))
    return lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + rows + chunk(b"IEND", b""))


def _picture(path: Path) -> None:
    Image.new("L", (16_000, 16_000)).save(path)


def _npz(shape: tuple[int, ...], stored: int) -> Callable[[Path], object]:
    """Write an .npz file whose array has a shape, and so many bytes of zeros."""

    def make(path: Path) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            with archive.open("xyz.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, header)
                for _ in range(0, stored, _BLOCK):
                    file.write(bytes(_BLOCK))

    return make


def _many_members(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number}.npy", b"")


def _gzip_of_zeros(path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(20):
            file.write(bytes(_BLOCK))


def _doubling_pickle(path: Path) -> None:
    value: Any = "x" * 1000
    for _ in range(200):
        value = [value, value]
    path.write_bytes(gzip.compress(pickle.dumps(value)))


def _columns_of_zeros(path: Path) -> None:
    import pyarrow
    from pyarrow import feather, parquet

    table = pyarrow.table({"x": np.zeros(40_000_000)})
    if path.suffix == ".parquet":
        parquet.write_table(table, path, compression="zstd")
    else:
        feather.write_feather(table, str(path), compression="zstd")


def _claiming_safetensors(path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def _huge_constant(path: Path) -> None:
    import onnx

    helper, kinds = onnx.helper, onnx.TensorProto
    shape = helper.make_tensor("shape", kinds.INT64, [1], [1 << 32])
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["out"], keepdims=1),
    ]
    graph = helper.make_graph(nodes, "g", [], [helper.make_tensor_value_info("out", kinds.FLOAT, [1])], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())


def _external_data(path: Path) -> None:
    """Write a network whose weights are in a file outside of its folder."""
    import onnx

    helper, kinds = onnx.helper, onnx.TensorProto
    weights = kinds(name="w", data_type=kinds.FLOAT, dims=[2], data_location=kinds.EXTERNAL)
    weights.external_data.add(key="location", value="../../../../../../etc/passwd")
    graph = helper.make_graph(
        [helper.make_node("Relu", ["w"], ["out"])], "g", [], [helper.make_tensor_value_info("out", kinds.FLOAT, [2])],
        [weights],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())


def _ply(count: int) -> Callable[[Path], object]:
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {count}\nproperty list uint float x\nend_header\n"
    return lambda path: path.write_bytes(header.encode() + b"\xff\xff\xff\x7f")


def _spz(count: int, size: int) -> Callable[[Path], object]:
    """Write an SPZ file of version 3 of `size` zeros."""
    header = struct.pack("<IIIBBBB", 0x5053474E, 3, count, 3, 12, 0, 0)
    return lambda path: path.write_bytes(gzip.compress(header + bytes(size)))


def _sog(path: Path) -> None:
    """Write a SOG file whose first image has 16000 x 16000 pixels, black."""
    gaussians = GaussianArrays(*(np.ones(shape, np.float32) for shape in ((1, 3), (1, 4), (1, 3), (1,), (1, 1, 3))))
    files.write_gaussians(path, gaussians)
    image = io.BytesIO()
    Image.new("RGB", (16_000, 16_000)).save(image, "PNG")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (members | {"means_l.webp": image.getvalue()}).items():
            archive.writestr(name, data)


def bombs() -> Iterator[tuple[str, Bomb]]:
    """List the bombs by what they are."""
    image, points, arrays = lazy_arrays.read_image, lazy_arrays.read_points, read_arrays
    column = partial(read_columns, columns=["x"])
    huge_pickle = gzip.compress(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x")
    yield "PNG of 16000 x 16000", Bomb("bomb.png", _png(16_000), image)
    yield "PNG of 60000 x 60000", Bomb("bomb.png", _png(60_000), image)
    yield "TIFF of 16000 x 16000", Bomb("bomb.tiff", _picture, image)
    yield "JPEG of 16000 x 16000", Bomb("bomb.jpg", _picture, image)
    yield "npz of zeros", Bomb("bomb.npz", _npz((1 << 26, 3), 3 << 28), points)
    yield "npz that claims 12 TB", Bomb("bomb.npz", _npz((1 << 40, 3), 0), points)
    yield "npz of 20,000 members", Bomb("bomb.npz", _many_members, points)
    yield "gzip of zeros", Bomb("bomb.pkl.gz", _gzip_of_zeros, read_table)
    yield "pickle that doubles itself", Bomb("bomb.pkl.gz", _doubling_pickle, read_table)
    yield "pickle that claims 1 TB", Bomb("bomb.pkl.gz", lambda path: path.write_bytes(huge_pickle), read_table)
    yield "parquet of zeros", Bomb("bomb.parquet", _columns_of_zeros, column)
    yield "feather of zeros", Bomb("bomb.feather", _columns_of_zeros, column)
    header = struct.pack("<Q", 1 << 60) + b"{}"
    yield "safetensors: header of 1 EB", Bomb("bomb.safetensors", lambda path: path.write_bytes(header), arrays)
    yield "safetensors that claims 4 TB", Bomb("bomb.safetensors", _claiming_safetensors, arrays)
    # It is not computed when it is opened; a network is a program, and may need any memory when it runs.
    yield "ONNX of a constant of 16 GB", Bomb("bomb.onnx", _huge_constant, open_network, (RUNS, SENTENCE))
    yield "ONNX of a foreign file", Bomb("bomb.onnx", _external_data, open_network)
    record = struct.pack("<Q", 1 << 60) + tfrecord([b"x"])[8:]
    yield "TFRecord of 1 EB", Bomb("bomb.tfrecord", lambda path: path.write_bytes(record), waymo_v1.load)
    yield "PLY of 10^12 vertices", Bomb("bomb.ply", _ply(10**12), ply_points)
    yield "PLY of a long list", Bomb("bomb.ply", _ply(1), ply_points)
    yield "SPZ of 10^9 Gaussians", Bomb("bomb.spz", _spz(10**9, 0), files.read_gaussians)
    yield "SPZ of zeros", Bomb("bomb.spz", _spz(1 << 22, 1 << 28), files.read_gaussians)
    yield "SOG of a huge image", Bomb("bomb.sog", _sog, files.read_gaussians)
    yield "JSON, deep", Bomb("bomb.json", lambda path: path.write_text("[" * 200_000), read_json)
    yield "JSON of 10 million digits", Bomb("bomb.json", lambda path: path.write_text("1" * 10_000_000), read_json)
