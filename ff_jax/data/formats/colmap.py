"""Read a COLMAP reconstruction: a folder with images/ (or input/) and sparse/0/ (or sparse/, or the model itself).

Each folder in images/ is one camera. masks/NAME.png, as COLMAP names them, are black where an image is not usable.
Pixel centers are at .5. A reconstruction has no metric scale and no times: `scale` is the number of meters per unit
(`data/units.py`), and images are 0.1 s apart.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ff_jax.data.file_names import portable
from ff_jax.data.formats.colmap_model import ModelCamera, ModelImage, read_model
from ff_jax.data.formats.common import pose
from ff_jax.data.formats.posed_photos import Photo, photo_scene
from ff_jax.data.lenses import Lens, lens
from ff_jax.data.paths import inside, is_file_inside
from ff_jax.data.scene_data import SceneData, SparsePoints, invert_rigid
from ff_jax.data.units import Scale

IMAGES = ("images", "input")  # folders that may hold the images; the second is that of 3DGS for distorted ones
MASKS = "masks"


def load(path: Path, scale: Scale | None = None) -> SceneData:
    """Read the reconstruction in folder `path`; no image is decoded.

    Args:
        path: folder of the images and the model.
        scale: meters per unit of the reconstruction, or what it follows from (`units.parse_scale`); None: unknown.

    Raises:
        ValueError: there is no model, a file of it is damaged, or a camera model is not supported.
    """
    folders = [folder for folder in (path / "sparse/0", path / "sparse", path) if is_model(folder)]
    if not folders:
        raise ValueError(f"{path} holds no COLMAP model; use the folder that holds sparse/0/cameras.bin or .txt.")
    cameras, images, xyz, rgb = read_model(folders[0])
    if not images:
        raise ValueError(f"{folders[0]}: the model has no images; use a model of registered images.")
    folder = _image_folder(path, images)
    lenses = {number: _lens(folders[0], number, cameras) for number in {image.camera for image in images}}
    poses = invert_rigid(pose(*(np.array([getattr(i, key) for i in images]) for key in ("quaternion", "translation"))))
    masks = path / MASKS if (path / MASKS).is_dir() else None
    photos = [
        Photo(
            name=portable(image.name),
            file=inside(folder, portable(image.name)),
            lens=lenses[image.camera],
            world_from_camera=world_from_camera,
            width=cameras[image.camera].width,
            height=cameras[image.camera].height,
            masks=_masks(masks, portable(image.name)) if masks else {},
        )
        for image, world_from_camera in zip(images, poses, strict=True)
    ]
    points = SparsePoints(xyz, rgb / 255) if len(xyz) else None
    return photo_scene(path.name, "COLMAP reconstruction", photos, points, scale, path)


def is_model(folder: Path) -> bool:
    """Test whether `folder` holds a text or binary model."""
    return any((folder / f"cameras{suffix}").is_file() for suffix in (".bin", ".txt"))


def _image_folder(path: Path, images: Sequence[ModelImage]) -> Path:
    """Find the folder that holds the most of the images; the first one if none has any."""
    folders = [path / name for name in IMAGES]
    return max(folders, key=lambda folder: sum(is_file_inside(folder, portable(image.name)) for image in images))


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
