"""Read a COLMAP reconstruction: a folder with images/ and sparse/0/ (or sparse/, or the model itself).

Each folder in images/ is one camera. Pixel centers are at .5. A reconstruction has no metric scale and no times:
`scale` is the number of meters per unit, and images are 0.1 s apart.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from ff_jax.data.formats.colmap_model import ModelCamera, ModelImage, read_model
from ff_jax.data.formats.common import pinhole, pose
from ff_jax.data.formats.posed_photos import Photo, photo_scene
from ff_jax.data.scene_data import SceneData, SparsePoints, invert_rigid

Array = np.ndarray


def load(path: Path, scale: float = 1.0) -> SceneData:
    """Read the reconstruction in folder `path`; no image is decoded.

    Args:
        path: folder of the images and the model.
        scale: meters per unit of the reconstruction.

    Raises:
        ValueError: there is no model, a file of it is damaged, or a camera model is not supported.
    """
    folders = [folder for folder in (path / "sparse/0", path / "sparse", path) if is_model(folder)]
    if not folders:
        raise ValueError(f"{path} holds no COLMAP model; use the folder that holds sparse/0/cameras.bin or .txt.")
    cameras, images, xyz, rgb = read_model(folders[0])
    photos = [_photo(path, image, cameras) for image in images]
    points = SparsePoints(xyz, rgb / 255) if len(xyz) else None
    return photo_scene(path.name, "COLMAP reconstruction", photos, points, scale)


def is_model(folder: Path) -> bool:
    """Test whether `folder` holds a text or binary model."""
    return any((folder / f"cameras{suffix}").is_file() for suffix in (".bin", ".txt"))


def _photo(path: Path, image: ModelImage, cameras: dict[int, ModelCamera]) -> Photo:
    if image.camera not in cameras:
        raise ValueError(
            f"{path}: image {image.name} has camera {image.camera}, which does not exist; restore the model."
        )
    camera = cameras[image.camera]
    K, distortion = lens(camera)
    world_from_camera = invert_rigid(pose(np.array(image.quaternion), np.array(image.translation)))
    file = path / "images" / image.name
    return Photo(image.name, file, K, distortion, world_from_camera, camera.width, camera.height)


def lens(camera: ModelCamera) -> tuple[Float[Array, "3 3"], Float[Array, "5"] | None]:
    """Convert a camera to K and the distortion k1, k2, p1, p2, k3 (None for a pinhole)."""
    values = camera.parameters
    if camera.model in ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL"):
        values = (values[0], *values)
    distortion = np.zeros(5)
    distortion[: len(values) - 4] = values[4:]
    return pinhole(*values[:4]), distortion if camera.model not in ("SIMPLE_PINHOLE", "PINHOLE") else None
