"""Build a log from posed photographs of structure from motion, without times, a vehicle or a metric scale."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ff_jax.data.formats.common import start_at_vehicle
from ff_jax.data.lazy_arrays import ImageFile, MaskFile
from ff_jax.data.scene_data import Frame, SceneData, SparsePoints, ego_from_front_camera

PERIOD = 0.1  # seconds between time steps: photographs have no times, and logs have 10 Hz

Array = np.ndarray


class Photo(NamedTuple):
    """One posed photograph."""

    name: str  # path relative to the folder of the images; its folder is the camera
    file: Path
    K: Float[Array, "3 3"]
    distortion: Float[Array, "5"] | None
    world_from_camera: Float[Array, "4 4"]  # OpenCV axes
    width: int
    height: int
    split: str = "train"
    masks: Mapping[str, Path] = MappingProxyType({})


def photo_scene(
    name: str, source: str, photos: Sequence[Photo], points: SparsePoints | None, scale: float
) -> SceneData:
    """Build the log of some photographs.

    The photographs of one folder are one camera, and in order of name they are its time steps: the first ones of all
    cameras share a time step, and so on. The ego frame is at the camera with the most photographs.

    Args:
        name: of the log.
        source: its origin, in words.
        photos: at least one.
        points: sparse points, in units of the reconstruction.
        scale: meters per unit of the reconstruction.

    Raises:
        ValueError: there are no photographs or the scale is not positive.
    """
    if not photos or not scale > 0:
        raise ValueError(
            f"{name}: has {len(photos)} posed images and {scale=}; expected at least one image, and a positive scale."
        )
    cameras: dict[str, list[Photo]] = {}
    for photo in sorted(photos, key=lambda photo: photo.name):
        cameras.setdefault(str(PurePosixPath(photo.name).parent), []).append(photo)
    longest = max(cameras.values(), key=len)  # the first one of equal length
    ordered = sorted(
        ((step, camera, photo) for camera, group in cameras.items() for step, photo in enumerate(group)),
        key=lambda entry: (entry[0], entry[1]),
    )
    ego = ego_from_front_camera(np.stack([_scaled(photo.world_from_camera, scale) for photo in longest]))
    scene = SceneData(
        name=name,
        source=source,
        license="of the images",
        times=PERIOD * np.arange(len(longest)),
        world_from_ego=ego,
        frames=tuple(_frame(i, *entry, scale) for i, entry in enumerate(ordered)),
        points=points and SparsePoints(points.xyz * scale, points.rgb),
    )
    return start_at_vehicle(scene)


def _frame(number: int, step: int, camera: str, photo: Photo, scale: float) -> Frame:
    return Frame(
        camera="camera" if camera == "." else camera,
        time_index=step,
        time=PERIOD * step,
        K=photo.K,
        world_from_camera=_scaled(photo.world_from_camera, scale),
        width=photo.width,
        height=photo.height,
        image=ImageFile(photo.file),
        distortion=photo.distortion,
        exposure_id=number,
        split=photo.split,
        masks={kind: MaskFile(file) for kind, file in photo.masks.items()},
    )


def _scaled(matrix: Float[Array, "4 4"], scale: float) -> Float[Array, "4 4"]:
    result = matrix.copy()
    result[:3, 3] *= scale
    return result
