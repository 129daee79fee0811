"""The unit of length of a log: whether it can be the meter, and how to make it the meter."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ff_jax.data.points.visibility import NEAR
from ff_jax.data.road import find_road
from ff_jax.data.scene_data import SceneData, invert_rigid, transform

MAX_DEPTH = 2000.0  # meters; the median depth of the points of a street is about ten
MIN_EXTENT = 0.05  # meters between the farthest cameras of a log without a known unit
MAX_STEP = 200.0  # meters between the cameras of two time steps
REMEDY = (
    "set ?scale= of a COLMAP or Nerfstudio log to the number of meters per unit, or to height:1.5 for a camera 1.5 m "
    "above the road; scale the poses and points of another log to meters"
)
VIEWS = 30  # that are looked at


class CameraHeight(NamedTuple):
    """The height of the front camera above the road, from which the unit of length is found."""

    meters: float = 1.5


def parse_scale(text: str) -> float | CameraHeight:
    """Parse the option `scale`: meters per unit, or `height` or `height:METERS` of the front camera above the road.

    Raises:
        ValueError: it is neither.
    """
    word, _, value = text.partition(":")
    if word == "height":
        return CameraHeight(float(value)) if value else CameraHeight()
    return float(text)


parse_scale.__name__ = "a number of meters per unit, or height:METERS"


def in_meters(scene: SceneData, scale: float | CameraHeight | None) -> SceneData:
    """Convert a scene of any unit of length to meters; without a scale the unit stays unknown.

    Raises:
        ValueError: the scale is not positive, or no road is found for the height of the camera.
    """
    if scale is None:
        return replace(scene, has_meters=False, source=f"{scene.source}; lengths are in units, not in meters")
    factor = scale.meters / find_road(scene).height if isinstance(scale, CameraHeight) else scale
    if not 0 < factor < np.inf:
        raise ValueError(f"{scene.name}: invalid {scale=}: expected a positive number of meters.")
    return scaled_units(scene, factor)


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
