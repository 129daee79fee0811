"""Damaged files of every format: bytes are flipped, cut out, repeated and overwritten at random.

The outcome is a result, or an error that names the file. Readers run in this process: a crash would end the test.
"""

import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from ff_jax.data import lazy_arrays
from ff_jax.data.folder import read_folder, write_folder
from ff_jax.data.formats import colmap, nerfstudio, waymo_v1
from ff_jax.data.formats.common import read_columns
from ff_jax.data.formats.pandas_pickle import read_table
from ff_jax.export.ply_layouts import read_splats
from ff_jax.fixers.convert.safetensors_shards import read_tensors
from ff_jax.pipeline.fuse import read_config
from ff_jax.runtime import checkpoint
from ff_jax.runtime.onnx_model import open_network
from ff_jax.runtime.run_log import peak_memory, read_metrics
from ff_jax.runtime.weight_files import read_arrays
from tests.ff_jax.data import tiny
from tests.ff_jax.data.formats.protobuf import tfrecord

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

ODD = [
    b"\x00",
    b"\xff" * 4,
    b"\xff" * 8,
    b"\x7f\xff\xff\xff",
    b"99999999999",
    b"-1",
    b"NaN",
    b"1e999",
    b"{",
    b"[" * 3000,
]


class Format(NamedTuple):
    """Write a valid file into a folder, and read it."""

    make: Callable[[Path], Path]
    read: Callable[[Path], object]


def image(suffix, **options):
    def make(folder):
        pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"picture{suffix}", **options)
        return folder / f"picture{suffix}"

    return Format(make, lazy_arrays.read_image)


def npz(save):
    def make(folder):
        save(folder / "points.npz", xyz=np.ones((5, 3), np.float32), intensity=np.arange(5.0))
        return folder / "points.npz"

    return make


def scene_json(folder):
    write_folder(tiny.make_scene(folder / "log"), folder / "scene")
    return folder / "scene" / "scene.json"


def transforms(folder):
    Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(folder / "0.png")
    frames = [{"file_path": "0.png", "transform_matrix": np.eye(4).tolist()}]
    lens = {"fl_x": 20, "fl_y": 20, "cx": 12, "cy": 8, "w": 24, "h": 16, "k1": 0.1}
    (folder / "transforms.json").write_text(json.dumps(lens | {"ply_file_path": "sparse.ply", "frames": frames}))
    return folder / "transforms.json"


def ply(is_text):
    def make(folder):
        from plyfile import PlyData, PlyElement

        transforms(folder)
        vertices = np.ones(4, [(name, "f4") for name in "xyz"])
        faces = np.array([([0, 1, 2],)], [("vertex_indices", "i4", (3,))])
        elements = [PlyElement.describe(vertices, "vertex"), PlyElement.describe(faces, "face")]
        PlyData(elements, text=is_text).write(str(folder / "sparse.ply"))
        return folder / "sparse.ply"

    return Format(make, lambda path: nerfstudio.load(path.parent))


def plain_gaussians(folder):
    from ff_jax.export.ply import write_ply
    from tests.scenes import random_gaussians

    write_ply(folder / "scene.ply", random_gaussians(np.random.default_rng(0), 5), np.ones(5, bool), ["made here"])
    return folder / "scene.ply"


def packed_gaussians(folder):
    from tests.ff_jax.export.ply_layouts_test import write_compressed
    from tests.scenes import random_gaussians

    options = {"coefficients": 4, "brightness": 0.0}
    write_compressed(folder / "scene.ply", random_gaussians(np.random.default_rng(0), 5, **options), True)
    return folder / "scene.ply"


def colmap_file(name):
    def make(folder):
        from tests.ff_jax.data.formats.colmap_test import NAMES, Model

        (folder / "sparse").mkdir()
        model = Model(np.random.default_rng(0))
        (model.binary if name.endswith("bin") else model.text)(folder / "sparse")
        for image_name in NAMES:
            (folder / "images" / image_name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(folder / "images" / image_name)
        return folder / "sparse" / name

    return Format(make, lambda path: colmap.load(path.parent.parent))


def pickled(folder):
    from tests.ff_jax.data.formats.pandas_pickle_test import Writer

    with pytest.MonkeyPatch.context() as patch:
        Writer(patch).write(folder / "table.pkl.gz", {"x": np.arange(5.0), "y": np.arange(5)}, old=False)
    return folder / "table.pkl.gz"


def table(suffix):
    def make(folder):
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import feather, parquet

        content = pyarrow.table({"x": np.arange(30.0), "name": [f"n{i}" for i in range(30)]})
        path = folder / f"table{suffix}"
        parquet.write_table(content, path) if suffix == ".parquet" else feather.write_feather(content, str(path))
        return path

    return Format(make, lambda path: read_columns(path, ["x", "name"]))


def record(folder):
    from tests.ff_jax.data.formats.waymo_v1_test import Segment

    path = folder / "segment-1.tfrecord"
    path.write_bytes(tfrecord([Segment(np.random.default_rng(0)).record(0)]))
    return path


def read_segment(path):
    scene = waymo_v1.load(path)
    return [sweep.load() for sweep in scene.sweeps]


def tensors(folder):
    from safetensors.numpy import save_file

    save_file({"a": np.ones((2, 3), np.float32), "b": np.arange(4)}, folder / "net.safetensors")
    return folder / "net.safetensors"


def network(folder):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    values = [helper.make_tensor_value_info(name, real, [2]) for name in "ab"]
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    return folder / "net.onnx"


def metrics(folder):
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step, "loss": 0.5, "stage": "a"}) + "\n" for step in range(4)))
    return path


def settings(folder):
    from ff_jax.pipeline.config import FuseConfig, to_dict

    (folder / "config.json").write_text(json.dumps(to_dict(FuseConfig())))
    return folder / "config.json"


def manifest(folder):
    checkpoint.save(folder / "checkpoints", 3, {"x": np.ones(3)}, {})
    return folder / "checkpoints" / "3" / checkpoint.MANIFEST


def restore(path):
    try:
        state, _, _ = checkpoint.restore(path.parent.parent, {"x": np.ones(3)})
    except FileNotFoundError as error:
        raise ValueError(f"{path.name}: {error}") from error  # it names the folder of all steps
    np.testing.assert_array_equal(state["x"], np.ones(3))  # never something else than what was saved


FORMATS = {
    "png": image(".png"),
    "jpeg": image(".jpg"),
    "webp": image(".webp"),
    "tiff": image(".tiff", compression="tiff_deflate"),
    "npz": Format(npz(np.savez), lazy_arrays.read_points),
    "compressed npz": Format(npz(np.savez_compressed), read_arrays),
    "scene.json": Format(scene_json, lambda path: read_folder(path.parent)),
    "transforms.json": Format(transforms, lambda path: nerfstudio.load(path.parent)),
    "text ply": ply(True),
    "binary ply": ply(False),
    "plain gaussians": Format(plain_gaussians, read_splats),
    "packed gaussians": Format(packed_gaussians, read_splats),
    "cameras.bin": colmap_file("cameras.bin"),
    "images.bin": colmap_file("images.bin"),
    "points3D.bin": colmap_file("points3D.bin"),
    "images.txt": colmap_file("images.txt"),
    "pickle": Format(pickled, read_table),
    "parquet": table(".parquet"),
    "feather": table(".feather"),
    "tfrecord": Format(record, read_segment),
    "safetensors": Format(tensors, read_arrays),
    "safetensors shards": Format(tensors, lambda path: list(read_tensors(path))),
    "onnx": Format(network, open_network),
    "metrics.jsonl": Format(metrics, read_metrics),
    "config.json": Format(settings, lambda path: read_config(path.parent)),
    "manifest": Format(manifest, restore),
}

OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "truncate", "repeat", "overwrite"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(1, 40),
        st.sampled_from(ODD),
    ),
    min_size=1,
    max_size=4,
)


def mutate(data: bytes, kind: str, where: float, length: int, odd: bytes) -> bytes:
    at = int(where * len(data))
    head, part, tail = data[:at], data[at : at + length], data[at + length :]
    if kind == "flip":
        return head + bytes(byte ^ (1 << length % 8) for byte in part[:1]) + part[1:] + tail
    return {
        "cut": head + tail,
        "truncate": head,
        "repeat": head + part + part + tail,
        "overwrite": head + odd + data[at + len(odd) :],
    }[kind]


def check(name: str, folder: Path, count: int) -> None:
    make, read = FORMATS[name]
    path = make(folder)
    read(path)  # the file is valid
    original = path.read_bytes()
    options = {"max_examples": count, "database": None, "derandomize": True, "print_blob": False}
    checks = {"suppress_health_check": list(hypothesis.HealthCheck), "deadline": None}

    @hypothesis.settings(**options, **checks)
    @hypothesis.given(OPERATIONS)
    def run(operations):
        path.write_bytes(functools.reduce(lambda data, operation: mutate(data, *operation), operations, original))
        begin = time.process_time()  # of this process: others may slow it down
        try:
            read(path)
        except (ValueError, OSError) as error:
            # The files of a COLMAP model belong together: one that lacks what another names may be either's fault.
            names = path.stem, "/sparse: "
            assert any(name in str(error) for name in names), f"the error does not name the file: {error}"
        assert time.process_time() - begin < 5

    run()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF|Truncated File Read|Metadata Warning")
@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_read_or_named(name, tmp_path):
    check(name, tmp_path, 50)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Corrupt EXIF|Truncated File Read|Metadata Warning")
@pytest.mark.parametrize("name", FORMATS)
def test_thousands_of_damaged_files_are_read_or_named(name, tmp_path):
    before = peak_memory()["peak_host_bytes"]
    check(name, tmp_path, 100 if name in ("manifest", "tfrecord") else 500)
    assert peak_memory()["peak_host_bytes"] - before < 1 << 30
