"""Build a log from posed photographs of structure from motion, without times, a vehicle or a metric scale."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ff_jax.data.formats.common import start_at_vehicle
from ff_jax.data.formats.rigs import find_drives
from ff_jax.data.lazy_arrays import ImageFile, MaskFile
from ff_jax.data.lenses import Lens
from ff_jax.data.scene_data import Frame, SceneData, SparsePoints, ego_from_front_camera
from ff_jax.data.units import Scale, in_meters

PERIOD = 0.1  # seconds between time steps: photographs have no times, and logs have 10 Hz

Array = np.ndarray


class Photo(NamedTuple):
    """One posed photograph."""

    name: str  # path relative to the folder of the images; its folder is the camera
    file: Path
    lens: Lens
    world_from_camera: Float[Array, "4 4"]  # OpenCV axes
    width: int
    height: int
    split: str = "train"
    masks: Mapping[str, Path] = MappingProxyType({})

    @property
    def folder(self) -> str:
        """Return the folder of the photograph, which is its camera."""
        return str(PurePosixPath(self.name).parent)


def photo_scene(
    name: str,
    source: str,
    photos: Sequence[Photo],
    points: SparsePoints | None,
    scale: Scale | None,
    folder: Path = Path(),
) -> SceneData:
    """Build the log of some photographs.

    The photographs of one folder are one camera, in natural order of their names. Folders are the cameras of a rig if
    their file names match and their cameras keep their places to each other (`rigs`); others are drives of their own,
    one after the other. The ego frame of a drive is at its camera with the most photographs.

    Args:
        name: of the log.
        source: its origin, in words.
        photos: at least one.
        points: sparse points, in units of the reconstruction.
        scale: meters per unit of the reconstruction, or what it follows from; None leaves the unit unknown.
        folder: of the log, for files that the scale names.

    Raises:
        ValueError: there are no photographs, one is listed twice, or the scale is invalid.
    """
    if not photos:
        raise ValueError(f"{name}: has 0 posed images; expected at least one.")
    _check_unique(name, photos)
    drives = find_drives({photo.name: photo.world_from_camera for photo in photos})
    photo_of = {photo.name: photo for photo in photos}
    groups = [[photo_of[member] for member in step.values()] for drive in drives for step in drive.steps]
    front = np.stack([drive.front_pose(step) for drive in drives for step in range(len(drive.steps))])
    ordered = [(step, photo) for step, group in enumerate(groups) for photo in group]
    scene = SceneData(
        name=name,
        source=source,
        license="of the images",
        times=PERIOD * np.arange(len(groups)),
        world_from_ego=ego_from_front_camera(front),
        frames=tuple(_frame(number, step, photo) for number, (step, photo) in enumerate(ordered)),
        points=points,
    )
    return in_meters(start_at_vehicle(scene), scale, folder)


def _check_unique(name: str, photos: Sequence[Photo]) -> None:
    twice = [photo for photo, count in Counter(photo.name for photo in photos).items() if count > 1]
    if twice:
        raise ValueError(f"{name}: image {twice[0]} is listed twice; keep one of its entries.")


def _frame(number: int, step: int, photo: Photo) -> Frame:
    return Frame(
        camera="camera" if photo.folder == "." else photo.folder,
        time_index=step,
        time=PERIOD * step,
        K=photo.lens.K,
        world_from_camera=photo.world_from_camera,
        width=photo.width,
        height=photo.height,
        image=ImageFile(photo.file),
        distortion=photo.lens.distortion,
        exposure_id=number,
        split=photo.split,
        masks={kind: MaskFile(file) for kind, file in photo.masks.items()},
    )
