"""Read a data set of Nerfstudio or Blender: transforms.json, or transforms_train.json, _val and _test.

https://docs.nerf.studio/quickstart/data_conventions.html. Camera axes are those of OpenGL (x right, y up, z backward).
Intrinsics are global or per image, with pixel centers at .5. A mask is black where the image is not usable. Scale and
times as in `colmap.py`.

What `train_filenames` names is trained on; without that list, what neither `val_filenames` nor `test_filenames` names;
without any list, all images. Test images are those of `test_filenames`, else those of `val_filenames`; others are left
out. The files of Blender are lists of this kind.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ff_jax.data.file_names import portable
from ff_jax.data.formats.image_files import find_images, resized
from ff_jax.data.formats.posed_photos import Photo, photo_scene
from ff_jax.data.lazy_arrays import image_size, read_object
from ff_jax.data.lenses import MODELS, Lens, distortion_of, lens
from ff_jax.data.paths import inside
from ff_jax.data.ply_files import ply_points
from ff_jax.data.scene_data import SceneData, SparsePoints
from ff_jax.data.units import Scale
from ff_jax.runtime.untrusted_files import reason

FILE = "transforms.json"
SPLIT_FILES = {name: f"transforms_{name}.json" for name in ("train", "val", "test")}
UNKNOWN = ("k5", "k6", "s1", "s2", "s3", "s4")  # coefficients that Nerfstudio does not define
OPENGL_FROM_OPENCV = np.diag([1.0, -1, -1, 1])
OLD_APPLIED_TRANSFORM = ((0.0, 1, 0, 0), (1, 0, 0, 0), (0, 0, -1, 0))


def is_data_set(path: Path) -> bool:
    """Test whether `path` is a folder that holds a data set."""
    return any((path / name).is_file() for name in (FILE, SPLIT_FILES["train"]))


def load(path: Path, scale: Scale | None = None) -> SceneData:
    """Read the data set in folder `path`; no image is decoded.

    Args:
        path: folder that holds transforms.json, or transforms_train.json.
        scale: meters per unit of the poses, or what it follows from (`units.parse_scale`); None: unknown.

    Raises:
        ValueError: a file is missing or broken, a list of images names one that does not exist, or the camera model is
            not supported.
    """
    content = _content(path)
    try:
        records = [content | record for record in content["frames"]]
        names = [portable(record["file_path"]) for record in records]
        splits = _splits(content, names, path)
        used = [(name, record) for name, record in zip(names, records, strict=True) if name in splits]
        files = find_images(path, [name for name, _ in used], [path])
        photos = [_photo(path, files[name], record)._replace(split=splits[name]) for name, record in used]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path}/{FILE} lacks an entry ({reason(repr(error))}); add it.") from error
    points = _points(path, content.get("ply_file_path"))
    return photo_scene(path.name, "Nerfstudio data set", resized(photos), points, scale, path)


def _content(path: Path) -> dict:
    """Read transforms.json, or merge the files of the splits to the same content."""
    if (path / FILE).is_file() or not is_data_set(path):
        return read_object(path / FILE, "frames")
    files = {name: path / file for name, file in SPLIT_FILES.items() if (path / file).is_file()}
    parts = {name: read_object(file, "frames") for name, file in files.items()}
    content: dict = {"frames": []}
    for name, part in parts.items():
        content |= {key: value for key, value in part.items() if key != "frames"}
        content["frames"] += [part | record for record in part["frames"]]
        content[f"{name}_filenames"] = [record["file_path"] for record in part["frames"]]
    return content


def _splits(content: dict, names: list[str], path: Path) -> dict[str, str]:
    """Find the split of every image that is used, by its name."""
    lists = {}
    for key in SPLIT_FILES:
        if content.get(f"{key}_filenames") is not None:
            lists[key] = {portable(name) for name in content[f"{key}_filenames"]}
            unknown = sorted(lists[key] - set(names))
            if unknown:
                raise ValueError(
                    f"{path}: {key}_filenames names {unknown[0]}, which no frame has; correct the name or remove it."
                )
    test = lists.get("test", lists.get("val", set()))
    train = lists.get("train", set(names) - lists.get("val", set()))
    return dict.fromkeys(train, "train") | dict.fromkeys(test, "test")  # a name of both is for testing


def _photo(path: Path, file: Path, record: dict) -> Photo:
    width, height = _size(file, record)
    world_from_camera = np.array(record["transform_matrix"], float) @ OPENGL_FROM_OPENCV
    return Photo(
        name=file.relative_to(path).as_posix(),
        file=file,
        lens=_lens(path, record, width, height),
        world_from_camera=np.vstack([world_from_camera[:3], [0, 0, 0, 1]]),
        width=width,
        height=height,
        masks={"valid": _mask(path, portable(record["mask_path"]))} if record.get("mask_path") else {},
    )


def _mask(path: Path, name: str) -> Path:
    """Find a mask; its path may begin with folders of another machine."""
    parts = name.split("/")
    files = ("/".join(parts[first:]) for first in range(len(parts)))
    return next((path / file for file in files if file and (path / file).is_file()), None) or inside(path, name)


def _size(file: Path, record: dict) -> tuple[int, int]:
    """Read width and height from a record, else from the image; 0 if that is missing."""
    if "w" in record and "h" in record:
        return int(record["w"]), int(record["h"])
    return image_size(file) if file.is_file() else (0, 0)


def _lens(path: Path, record: Mapping, width: int, height: int) -> Lens:
    model = "OPENCV_FISHEYE" if record.get("is_fisheye") else str(record.get("camera_model", "OPENCV"))
    unknown = [key for key in UNKNOWN if record.get(key)]
    if unknown:
        raise ValueError(f"{path}: {FILE} has the unknown coefficient {unknown[0]}; undistort the images first.")
    fl_x, fl_y = _focal(record, width, height)
    values = dict(record) | {"f": fl_x, "fx": fl_x, "fy": fl_y}
    values |= {"cx": record.get("cx", width / 2), "cy": record.get("cy", height / 2)}
    try:
        made = lens(model, [float(values.get(key, 0.0)) for key in MODELS.get(model, ())])
    except ValueError as error:
        raise ValueError(f"{path}: {error}.") from error
    # Nerfstudio applies all radial coefficients of a perspective camera, up to k4, whatever its model is called.
    coefficients = {key: float(record.get(key, 0.0)) for key in ("k1", "k2", "k3", "k4", "p1", "p2")}
    is_plain = "FISHEYE" in model or model.endswith("PINHOLE")
    return Lens(
        np.array([[fl_x, 0, values["cx"]], [0, fl_y, values["cy"]], [0, 0, 1]], float),
        made.distortion if is_plain else distortion_of(coefficients),
    )


def _focal(record: Mapping, width: int, height: int) -> tuple[float, float]:
    """Read the focal lengths in pixels, or compute them from the angles of view."""
    sizes = {"x": width, "y": height}
    focal = {axis: record.get(f"fl_{axis}") for axis in sizes}
    for axis, size in sizes.items():
        if focal[axis] is None and record.get(f"camera_angle_{axis}"):
            focal[axis] = 0.5 * size / np.tan(0.5 * float(record[f"camera_angle_{axis}"]))
    if focal["x"] is None:
        raise KeyError("fl_x")
    return float(focal["x"]), float(focal["x"] if focal["y"] is None else focal["y"])


def _points(folder: Path, name: str | None) -> SparsePoints | None:
    """Read the point cloud, if there is one: points are optional."""
    path = inside(folder, portable(name)) if name else folder
    if not path.is_file():
        return None
    try:
        return ply_points(path)
    except ValueError as error:
        raise ValueError(f"{str(error).rstrip('.')}, or remove ply_file_path.") from error


def applied_transform(path: Path) -> Float[np.ndarray, "4 4"]:
    """Read what Nerfstudio did to coordinates before it wrote the data set in folder `path`; the identity elsewhere.

    Its program `ns-process-data` exchanges axes of a COLMAP model, and earlier releases did so without a word.

    Raises:
        ValueError: the file is damaged.
    """
    result = np.eye(4)
    if not (path / FILE).is_file():
        return result
    content = read_object(path / FILE, "frames")
    default = OLD_APPLIED_TRANSFORM if (path / "colmap/sparse/0").is_dir() else np.eye(4)[:3]
    try:
        result[:3] = np.array(content.get("applied_transform", default), float)[:3]
        result[:3] *= float(content.get("applied_scale", 1.0))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path / FILE}: applied_transform is no matrix of 3 x 4 numbers ({error}).") from error
    return result
