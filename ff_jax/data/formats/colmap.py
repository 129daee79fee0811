"""Read a COLMAP reconstruction: a folder with images/ (or input/) and sparse/N/ (or sparse/, or the model itself).

Each folder in images/ is one camera. masks/NAME.png, as COLMAP names them, are black where an image is not usable.
Pixel centers are at .5. A reconstruction has no metric scale and no times: `scale` is the number of meters per unit
(`data/units.py`), and images are 0.1 s apart.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ff_jax.data.file_names import natural_key, portable
from ff_jax.data.formats.colmap_model import ModelCamera, count_images, read_model
from ff_jax.data.formats.common import pose
from ff_jax.data.formats.image_files import FOLDERS, find_images, resized
from ff_jax.data.formats.posed_photos import Photo, photo_scene
from ff_jax.data.lenses import Lens, lens
from ff_jax.data.paths import is_file_inside
from ff_jax.data.scene_data import SceneData, SparsePoints, invert_rigid
from ff_jax.data.units import Scale

MODELS = ("sparse", "colmap/sparse", "distorted/sparse", "dense/sparse")  # folders of models, or of numbered ones
MASKS = "masks"

_logger = logging.getLogger(__name__)


def load(path: Path, scale: Scale | None = None) -> SceneData:
    """Read the reconstruction in folder `path`; no image is decoded.

    Args:
        path: folder of the images and the model, or of the model, below that of the images.
        scale: meters per unit of the reconstruction, or what it follows from (`units.parse_scale`); None: unknown.

    Raises:
        ValueError: there is no model, a file of it is damaged, or a camera model is not supported.
    """
    path, model = root_of(path), find_model(path)
    cameras, images, xyz, rgb = read_model(model)
    if not images:
        raise ValueError(f"{model}: the model has no images; use a model of registered images.")
    names = [portable(image.name) for image in images]
    files = find_images(path, names, [path / name for name in FOLDERS])
    lenses = {number: _lens(model, number, cameras) for number in {image.camera for image in images}}
    poses = invert_rigid(pose(*(np.array([getattr(i, key) for i in images]) for key in ("quaternion", "translation"))))
    masks = path / MASKS if (path / MASKS).is_dir() else None
    photos = [
        Photo(
            name=name,
            file=files[name],
            lens=lenses[image.camera],
            world_from_camera=world_from_camera,
            width=cameras[image.camera].width,
            height=cameras[image.camera].height,
            masks=_masks(masks, name) if masks else {},
        )
        for name, image, world_from_camera in zip(names, images, poses, strict=True)
    ]
    points = SparsePoints(xyz, rgb / 255) if len(xyz) else None
    return photo_scene(path.name, "COLMAP reconstruction", resized(photos), points, scale, path)


def is_log(path: Path) -> bool:
    """Test whether `path` is a folder with a model, or is a model."""
    return bool(_models(path))


def root_of(path: Path) -> Path:
    """Find the folder of a log whose model is in the folder `path`: the nearest one above that holds images."""
    if not (is_model(path) or path.name == "sparse"):
        return path
    above = [path, *path.absolute().parents[:4]]
    return next((folder for folder in above if any((folder / name).is_dir() for name in FOLDERS)), path)


def find_model(path: Path) -> Path:
    """Find the model in a folder; of several ones, that with the most images.

    Raises:
        ValueError: there is none.
    """
    models = _models(path)
    if not models:
        raise ValueError(f"{path} holds no COLMAP model; use the folder that holds sparse/0/cameras.bin or .txt.")
    if len(models) == 1:
        return models[0]
    counts = {model: count_images(model) for model in models}
    largest = max(models, key=lambda model: counts[model])
    _logger.warning(
        "%s: of %d models, %s, the largest with %d images, is read; name the folder of another one to read it.",
        *(path, len(models), largest.relative_to(path), counts[largest]),
    )
    return largest


def _models(path: Path) -> list[Path]:
    """List the models of a folder: numbered ones, one without a number, or the folder itself."""
    for folder in (*(path / name for name in MODELS), path):
        if is_model(folder):
            return [folder]
        numbered = sorted((f for f in folder.glob("*") if f.name.isdecimal() and is_model(f)), key=natural_key)
        if numbered:
            return numbered
    return []


def is_model(folder: Path) -> bool:
    """Test whether `folder` holds a text or binary model."""
    return any((folder / f"cameras{suffix}").is_file() for suffix in (".bin", ".txt"))


def _lens(model: Path, number: int, cameras: Mapping[int, ModelCamera]) -> Lens:
    if number not in cameras:
        raise ValueError(f"{model}: images have camera {number}, which does not exist; restore the model.")
    try:
        return lens(cameras[number].model, cameras[number].parameters)
    except ValueError as error:
        raise ValueError(f"{model}: camera {number}: {error}.") from error


def _masks(folder: Path, name: str) -> dict[str, Path]:
    """Find the mask of an image: NAME.SUFFIX.png, as COLMAP names it, or NAME.png."""
    names = (f"{name}.png", f"{name.rpartition('.')[0] or name}.png")
    present = [folder / file for file in names if is_file_inside(folder, file)]
    return {"valid": present[0]} if present else {}
