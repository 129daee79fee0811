"""Read a data set of Nerfstudio: a folder with transforms.json (https://docs.nerf.studio/quickstart/data_conventions.html).

Camera axes are those of OpenGL (x right, y up, z backward). Intrinsics are global or per image, with pixel centers at
.5. A mask is black where the image is not usable. Without `test_filenames` all images are for training. Scale and times
as in `colmap.py`.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from plyfile import PlyData, PlyElement, PlyParseError

from ff_jax.data.formats.common import pinhole
from ff_jax.data.formats.posed_photos import Photo, photo_scene
from ff_jax.data.lazy_arrays import read_object
from ff_jax.data.scene_data import SceneData, SparsePoints

MODELS = ("OPENCV", "PINHOLE")
OPENGL_FROM_OPENCV = np.diag([1.0, -1, -1, 1])

Array = np.ndarray


def load(path: Path, scale: float = 1.0) -> SceneData:
    """Read the data set in folder `path`; no image is decoded.

    Args:
        path: folder that holds transforms.json.
        scale: meters per unit of the poses.

    Raises:
        ValueError: transforms.json or the point cloud is missing or broken, or the camera model is not supported.
    """
    content = read_object(path / "transforms.json", "frames")
    try:
        photos = [_photo(path, content, content | record) for record in content["frames"]]
    except (KeyError, TypeError, ValueError) as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path}/transforms.json lacks an entry ({error!r}); add it.") from error
    points = _points(path / content["ply_file_path"]) if content.get("ply_file_path") else None
    return photo_scene(path.name, "Nerfstudio data set", photos, points, scale)


def _photo(path: Path, content: dict, record: dict) -> Photo:
    model = record.get("camera_model", "OPENCV")
    if model not in MODELS:
        raise ValueError(f"{path}: camera model {model} is none of {', '.join(MODELS)}; undistort the images first.")
    name = record["file_path"].removeprefix("./")
    distortion = np.array([record.get(key, 0.0) for key in ("k1", "k2", "p1", "p2", "k3")], float)
    world_from_camera = np.array(record["transform_matrix"], float) @ OPENGL_FROM_OPENCV
    world_from_camera = np.vstack([world_from_camera[:3], [0, 0, 0, 1]])
    return Photo(
        name=name,
        file=path / name,
        K=pinhole(*(float(record[key]) for key in ("fl_x", "fl_y", "cx", "cy"))),
        distortion=distortion if model == "OPENCV" and distortion.any() else None,
        world_from_camera=world_from_camera,
        width=int(record["w"]),
        height=int(record["h"]),
        split="test" if record["file_path"] in content.get("test_filenames", ()) else "train",
        masks={"valid": path / record["mask_path"]} if record.get("mask_path") else {},
    )


def _points(path: Path) -> SparsePoints:
    try:
        vertices = PlyData.read(str(path))["vertex"]
        xyz = _columns(vertices, ("x", "y", "z"))
        colors = ("red", "green", "blue")
        colored = set(colors) <= {p.name for p in vertices.properties}
        return SparsePoints(xyz, _columns(vertices, colors) / 255 if colored else None)
    except (OSError, KeyError, ValueError, PlyParseError) as error:
        raise ValueError(f"{path}: cannot be read as PLY ({error}); restore it or remove ply_file_path.") from error


def _columns(vertices: PlyElement, names: tuple[str, ...]) -> Float[Array, "N C"]:
    return np.stack([vertices[name] for name in names], -1).astype(float)
