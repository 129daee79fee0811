"""The unit of length of a log: whether it can be the meter, and how to make it the meter."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ff_jax.data.measured_scale import LIDAR, MEASURED, measured_scale
from ff_jax.data.points.visibility import NEAR
from ff_jax.data.road import find_road
from ff_jax.data.scene_data import SceneData, invert_rigid, transform

MAX_DEPTH = 2000.0  # meters; the median depth of the points of a street is about ten
MIN_EXTENT = 0.05  # meters between the farthest cameras of a log without a known unit
MAX_STEP = 200.0  # meters between the cameras of two time steps
REMEDY = (
    "set ?scale= of a COLMAP or Nerfstudio log to the number of meters per unit, to height:1.5 for a camera 1.5 m "
    "above the road, or to gps or lidar, where the log has them; scale the poses and points of another log to meters"
)
VIEWS = 30  # that are looked at


class CameraHeight(NamedTuple):
    """The height of the front camera above the road, from which the unit of length is found."""

    meters: float = 1.5


class MeasuredScale(NamedTuple):
    """A measurement from which the unit of length is found.

    The place of its file is relative to the folder of the log, or else to the current one.
    """

    kind: str  # one of MEASURED
    file: str = ""  # "" takes what the images or the folder of the log hold


Scale = float | CameraHeight | MeasuredScale


def parse_scale(text: str) -> Scale:
    """Parse the option `scale`.

    It is the number of meters per unit, or what it follows from: `height:METERS` of the front camera above the road
    (1.5 by default), `gps` or `gps:FILE` (EXIF tags, a GPX track, a table of names, latitudes and longitudes),
    `positions:FILE` (a table of names, x, y, z in meters), `lidar` or `lidar:FILE` (a folder of sweeps).

    Raises:
        ValueError: it is none of them.
    """
    word, _, value = text.partition(":")
    if word == "height":
        return CameraHeight(float(value)) if value else CameraHeight()
    if word in MEASURED:
        if word == "positions" and not value:
            raise ValueError(text)
        return MeasuredScale(word, value)
    return float(text)


parse_scale.__name__ = "a number of meters per unit, height:METERS, gps, gps:FILE, positions:FILE, lidar or lidar:FILE"


def in_meters(scene: SceneData, scale: Scale | None, folder: Path = Path()) -> SceneData:
    """Convert a scene of any unit of length to meters; without a scale the unit stays unknown.

    A scale that is found is said in the source of the result.

    Args:
        scene: the log, in any unit.
        scale: meters per unit, or what it follows from.
        folder: of the log, for files that the scale names.

    Raises:
        ValueError: the scale is not positive, or cannot be found from what it names.
    """
    if scale is None:
        return replace(scene, has_meters=False, source=f"{scene.source}; lengths are in units, not in meters")
    text = ""
    if isinstance(scale, CameraHeight):
        factor = scale.meters / find_road(scene).height
        text = f"the front camera is {scale.meters:g} m above the road"
    elif isinstance(scale, MeasuredScale):
        factor, text = measured_scale(scene, scale.kind, _measurement(scale, folder))
    else:
        factor = scale
    if not 0 < factor < np.inf:
        raise ValueError(f"{scene.name}: invalid {scale=}: expected a positive number of meters.")
    if text:
        text = f"1 unit is {factor:.4g} m ({text})"
        logging.getLogger(__name__).warning("%s: %s.", scene.name, text)
        scene = replace(scene, source=f"{scene.source}; {text}")
    return scaled_units(scene, factor)


def _measurement(scale: MeasuredScale, folder: Path) -> Path | None:
    """Find the file or the folder of a measurement.

    Raises:
        ValueError: there is none.
    """
    if scale.file:
        places = (folder / scale.file, Path(scale.file))
    else:
        places = (folder / LIDAR,) if scale.kind == "lidar" else tuple(sorted(folder.glob("*.gpx")))[:1]
        if scale.kind == "gps" and not places:
            return None  # the tags of the images
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise ValueError(f"?scale={scale.kind}: there is no {places[0]}; name the file by ?scale={scale.kind}:FILE.")
    return found


def scaled_units(scene: SceneData, factor: float) -> SceneData:
    """Multiply all positions of a scene without LiDAR, boxes and lanes by `factor`."""

    def move(matrices: np.ndarray) -> np.ndarray:
        result = matrices.copy()
        result[..., :3, 3] *= factor
        return result

    frames = tuple(replace(frame, world_from_camera=move(frame.world_from_camera)) for frame in scene.frames)
    points = scene.points and replace(scene.points, xyz=scene.points.xyz * factor)
    return replace(
        scene,
        world_from_ego=move(scene.world_from_ego),
        frames=frames,
        points=points,
        world_from_files=np.diag([factor, factor, factor, 1.0]) @ scene.world_from_files,
    )


def find_unit_problem(scene: SceneData) -> str | None:
    """Describe why the unit of length of a scene cannot be the meter; None if it can."""
    centers = scene.world_from_ego[:, :3, 3]
    if not all(np.isfinite(pose).all() for pose in (centers, *(frame.world_from_camera for frame in scene.frames))):
        return None
    step = float(np.median(np.linalg.norm(np.diff(centers, axis=0), axis=-1))) if len(centers) > 1 else 0.0
    extent = float(np.linalg.norm(np.ptp(centers, axis=0))) if len(centers) else 0.0
    depth = median_depth(scene)
    if depth is not None and not NEAR <= depth <= MAX_DEPTH:
        reason = f"the median depth of the sparse points is {depth:.3g}, outside {NEAR:g} to {MAX_DEPTH:g} m"
    elif step > MAX_STEP:
        reason = f"the cameras are {step:.3g} apart from one time step to the next, more than {MAX_STEP:g} m"
    elif not scene.has_meters and depth is None and len(centers) > 1 and extent < MIN_EXTENT:
        reason = f"all cameras are within {extent:.3g}, less than {MIN_EXTENT:g} m"
    else:
        return None
    return f"{reason}; {REMEDY}"


def median_depth(scene: SceneData) -> float | None:
    """Measure the median depth of the sparse points in front of the cameras; None without points."""
    if scene.points is None or not scene.frames or not np.isfinite(scene.points.xyz).all():
        return None
    xyz = scene.points.xyz[:: max(len(scene.points.xyz) // 5000, 1)].astype(float)
    frames = scene.frames[:: max(len(scene.frames) // VIEWS, 1)]
    depths = [transform(invert_rigid(frame.world_from_camera), xyz)[:, 2] for frame in frames]
    medians = [np.median(depth[depth > 0]) for depth in depths if (depth > 0).any()]
    return float(np.median(medians)) if medians else None
