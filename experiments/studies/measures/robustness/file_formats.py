"""Small valid files of every format that the project reads, with their readers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from experiments.studies.measures.robustness.writers.colmap import NAMES, Model
from experiments.studies.measures.robustness.writers.gaussians import random_gaussians, write_compressed, write_gzip_spz
from experiments.studies.measures.robustness.writers.pandas_pickle import table_writer
from experiments.studies.measures.robustness.writers.protobuf import tfrecord
from experiments.studies.measures.robustness.writers.waymo import Segment
from ff_jax.data import lazy_arrays
from ff_jax.data.folder import read_folder, write_folder
from ff_jax.data.formats import colmap, nerfstudio, waymo_v1
from ff_jax.data.formats.common import read_columns
from ff_jax.data.formats.pandas_pickle import read_table
from ff_jax.data.scene_data import SceneData
from ff_jax.export.formats import files
from ff_jax.export.formats.splats import select_alive
from ff_jax.export.ply import write_ply
from ff_jax.export.ply_layouts import read_splats
from ff_jax.fixers.convert.safetensors_shards import read_tensors
from ff_jax.pipeline.config import FuseConfig, to_dict
from ff_jax.pipeline.fuse import read_config
from ff_jax.runtime import checkpoint
from ff_jax.runtime.onnx_model import open_network
from ff_jax.runtime.run_log import read_metrics
from ff_jax.runtime.weight_files import read_arrays

Make = Callable[[Path], Path]


class Format(NamedTuple):
    """Write a valid file into a folder, and read it."""

    make: Make
    read: Callable[[Path], object]
    share: float = 1.0  # of the mutations that are tried: reading the file takes long


def _image(suffix: str, **options: Any) -> Format:
    def make(folder: Path) -> Path:
        pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"picture{suffix}", **options)
        return folder / f"picture{suffix}"

    return Format(make, lazy_arrays.read_image)


def _npz(save: Callable[..., None]) -> Make:
    def make(folder: Path) -> Path:
        save(folder / "points.npz", xyz=np.ones((5, 3), np.float32), intensity=np.arange(5.0))
        return folder / "points.npz"

    return make


def transforms(folder: Path) -> Path:
    """Write a data set of Nerfstudio of one image."""
    Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(folder / "0.png")
    frames = [{"file_path": "0.png", "transform_matrix": np.eye(4).tolist()}]
    lens = {"fl_x": 20, "fl_y": 20, "cx": 12, "cy": 8, "w": 24, "h": 16, "k1": 0.1}
    (folder / "transforms.json").write_text(json.dumps(lens | {"ply_file_path": "sparse.ply", "frames": frames}))
    return folder / "transforms.json"


def _ply(is_text: bool) -> Format:
    def make(folder: Path) -> Path:
        from plyfile import PlyData, PlyElement

        transforms(folder)
        vertices = np.ones(4, [(name, "f4") for name in "xyz"])
        faces = np.array([([0, 1, 2],)], [("vertex_indices", "i4", (3,))])
        elements = [PlyElement.describe(vertices, "vertex"), PlyElement.describe(faces, "face")]
        PlyData(elements, text=is_text).write(str(folder / "sparse.ply"))
        return folder / "sparse.ply"

    return Format(make, lambda path: nerfstudio.load(path.parent))


def _plain_gaussians(folder: Path) -> Path:
    write_ply(folder / "scene.ply", random_gaussians(np.random.default_rng(0), 5), np.ones(5, bool), ["made here"])
    return folder / "scene.ply"


def _gaussians(suffix: str) -> Format:
    """Make a format of `export.formats`."""

    def make(folder: Path) -> Path:
        gaussians = select_alive(random_gaussians(np.random.default_rng(0), 5), np.ones(5, bool))
        files.write_gaussians(folder / f"scene{suffix}", gaussians, ["SplatRenderMode: mip"])
        return folder / f"scene{suffix}"

    return Format(make, files.read_gaussians)


def _gzip_spz(folder: Path) -> Path:
    gaussians = select_alive(random_gaussians(np.random.default_rng(0), 5), np.ones(5, bool))
    write_gzip_spz(folder / "scene.spz", gaussians, version=3)
    return folder / "scene.spz"


def _packed_gaussians(folder: Path) -> Path:
    write_compressed(folder / "scene.ply", random_gaussians(np.random.default_rng(0), 5), True)
    return folder / "scene.ply"


def colmap_model(folder: Path, is_text: bool) -> Path:
    """Write a COLMAP model with its images; return the folder of its files."""
    (folder / "sparse").mkdir()
    model = Model(np.random.default_rng(0))
    (model.text if is_text else model.binary)(folder / "sparse")
    for image_name in NAMES:
        (folder / "images" / image_name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(folder / "images" / image_name)
    return folder / "sparse"


def _colmap(name: str) -> Format:
    def make(folder: Path) -> Path:
        return colmap_model(folder, name.endswith("txt")) / name

    return Format(make, lambda path: colmap.load(path.parent.parent))


def _pickled(folder: Path) -> Path:
    with table_writer() as writer:
        writer.write(folder / "table.pkl.gz", {"x": np.arange(5.0), "y": np.arange(5)}, old=False)
    return folder / "table.pkl.gz"


def _table(suffix: str) -> Format:
    def make(folder: Path) -> Path:
        import pyarrow
        from pyarrow import feather, parquet

        content = pyarrow.table({"x": np.arange(30.0), "name": [f"n{i}" for i in range(30)]})
        path = folder / f"table{suffix}"
        parquet.write_table(content, path) if suffix == ".parquet" else feather.write_feather(content, str(path))
        return path

    return Format(make, lambda path: read_columns(path, ["x", "name"]))


def _record(folder: Path) -> Path:
    path = folder / "segment-1.tfrecord"
    path.write_bytes(tfrecord([Segment(np.random.default_rng(0)).record(0)]))
    return path


def _read_segment(path: Path) -> list[object]:
    scene = waymo_v1.load(path)
    return [sweep.load() for sweep in scene.sweeps]


def _tensors(folder: Path) -> Path:
    from safetensors.numpy import save_file

    save_file({"a": np.ones((2, 3), np.float32), "b": np.arange(4)}, folder / "net.safetensors")
    return folder / "net.safetensors"


def _network(folder: Path) -> Path:
    import onnx

    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    values = [helper.make_tensor_value_info(name, real, [2]) for name in "ab"]
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    return folder / "net.onnx"


def _metrics(folder: Path) -> Path:
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step, "loss": 0.5, "stage": "a"}) + "\n" for step in range(4)))
    return path


def _settings(folder: Path) -> Path:
    (folder / "config.json").write_text(json.dumps(to_dict(FuseConfig())))
    return folder / "config.json"


def _manifest(folder: Path) -> Path:
    checkpoint.save(folder / "checkpoints", 3, {"x": np.ones(3)}, {})
    return folder / "checkpoints" / "3" / checkpoint.MANIFEST


def _restore(path: Path) -> None:
    try:
        state, _, _ = checkpoint.restore(path.parent.parent, {"x": np.ones(3)})
    except FileNotFoundError as error:
        raise ValueError(f"{path.name}: {error}") from error  # it names the folder of all steps
    np.testing.assert_array_equal(state["x"], np.ones(3))  # never something else than what was saved


def formats(make_scene: Callable[[Path], SceneData]) -> dict[str, Format]:
    """List all formats by name.

    Args:
        make_scene: makes a small scene, whose files it may write into a folder.
    """

    def scene_json(folder: Path) -> Path:
        return write_folder(make_scene(folder / "log"), folder / "scene") / "scene.json"

    return {
        "png": _image(".png"),
        "jpeg": _image(".jpg"),
        "webp": _image(".webp"),
        "tiff": _image(".tiff", compression="tiff_deflate"),
        "npz": Format(_npz(np.savez), lazy_arrays.read_points),
        "compressed npz": Format(_npz(np.savez_compressed), read_arrays),
        "scene.json": Format(scene_json, lambda path: read_folder(path.parent)),
        "transforms.json": Format(transforms, lambda path: nerfstudio.load(path.parent)),
        "text ply": _ply(True),
        "binary ply": _ply(False),
        "plain gaussians": Format(_plain_gaussians, read_splats),
        "packed gaussians": Format(_packed_gaussians, read_splats),
        "splat": _gaussians(".splat"),
        "spz": _gaussians(".spz"),
        "sog": _gaussians(".sog"),
        "gzip spz": Format(_gzip_spz, files.read_gaussians),
        "cameras.bin": _colmap("cameras.bin"),
        "images.bin": _colmap("images.bin"),
        "points3D.bin": _colmap("points3D.bin"),
        "images.txt": _colmap("images.txt"),
        "pickle": Format(_pickled, read_table),
        "parquet": _table(".parquet"),
        "feather": _table(".feather"),
        "tfrecord": Format(_record, _read_segment, 0.2),
        "safetensors": Format(_tensors, read_arrays),
        "safetensors shards": Format(_tensors, lambda path: list(read_tensors(path))),
        "onnx": Format(_network, open_network),
        "metrics.jsonl": Format(_metrics, read_metrics),
        "config.json": Format(_settings, lambda path: read_config(path.parent)),
        "manifest": Format(_manifest, _restore, 0.2),
    }
