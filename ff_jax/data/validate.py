"""Validate scene data, in memory or in a folder, and report all problems at once."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Shaped

from ff_jax.data.folder import parse
from ff_jax.data.lazy_arrays import ImageFile, MaskFile, PointFile, Source, image_size
from ff_jax.data.lenses import SIZES
from ff_jax.data.scene_data import CATEGORIES, LANE_KINDS, MASKS, SPLITS, Box, Frame, LidarSweep, SceneData
from ff_jax.data.units import find_unit_problem

RIGID_TOLERANCE = 1e-3  # largest entry of R^T R - I; calibrations printed with four digits pass
FOCAL_RANGE = (0.1, 20.0)  # focal length over image width: from beyond fisheye to a strong telephoto lens
MAX_CAMERA_DISTANCE = 30.0  # meters between a camera and its ego pose: a long truck passes
MAX_FROM_ORIGIN = 20_000.0  # meters from the world origin: float32 resolves 2 mm there
MAX_LIDAR_RANGE = 2000.0  # meters; larger values are another unit

Array = np.ndarray
T = TypeVar("T")


def validate(scene: SceneData | Path, *, decode: bool = False) -> SceneData:
    """Validate a scene or a scene folder, and return the scene.

    Args:
        scene: the scene, or the path of its folder.
        decode: also decode every image, mask and sweep (slow: reads the whole log). Without it only the headers of
            image files and the LiDAR files on disk are read.

    Raises:
        ValueError: the scene has problems: one line for each, with its place, the value and the remedy.
    """
    where = str(scene) if isinstance(scene, Path) else repr(scene.name)
    data, problems = parse(scene) if isinstance(scene, Path) else (scene, [])
    if data is not None:
        problems += find_problems(data, decode=decode)
    if problems or data is None:
        raise ValueError(f"{len(problems)} problem(s) in {where}:\n- " + "\n- ".join(problems))
    return data


def find_problems(scene: SceneData, *, decode: bool = False) -> list[str]:
    """List the problems of a scene, one line each; see `validate`."""
    problems = [*_timeline(scene), *_duplicates(scene)]
    for number, frame in enumerate(scene.frames):
        where = f"frame {number} ({frame.camera}, time index {frame.time_index}, {frame.image.name})"
        problems += [f"{where}: {text}." for text in [*_frame(scene, frame), *_frame_files(frame, decode)]]
    for number, sweep in enumerate(scene.sweeps):
        where = f"sweep {number} (time index {sweep.time_index}, {sweep.points.name})"
        problems += [f"{where}: {text}." for text in _sweep(scene, sweep, decode)]
    for number, box in enumerate(scene.boxes):
        where = f"box {number} (track {box.track_id!r}, time index {box.time_index})"
        problems += [f"{where}: {text}." for text in _box(scene, box)]
    for number, lane in enumerate(scene.lanes):
        problems += [f"lane {number}: {text}." for text in _lane(lane.kind, lane.points)]
    problems += [f"sparse points: {text}." for text in _sparse(scene)]
    unit = find_unit_problem(scene)
    return [f"unit of length: {unit}.", *problems] if unit else problems


def _timeline(scene: SceneData) -> Iterator[str]:
    if len(scene.times) == 0:
        yield "times: there are none; add at least one."
    for index in np.flatnonzero(~(np.diff(scene.times) > 0)):
        before, after = scene.times[index], scene.times[index + 1]
        yield f"times[{index + 1}] = {after} does not follow {before}; make the times increase strictly."
    if not np.isfinite(scene.times).all():
        index = np.flatnonzero(~np.isfinite(scene.times))[0]
        yield f"times[{index}] = {scene.times[index]} is not finite; use seconds from the start."
    if len(scene.world_from_ego) != len(scene.times):
        counts = f"{len(scene.world_from_ego)} poses for {len(scene.times)} times"
        yield f"world_from_ego has {counts}; expected one per time."
    for index, pose in enumerate(scene.world_from_ego):
        yield from (f"world_from_ego[{index}]: {text}." for text in _rigid("the pose", pose))
    farthest = np.abs(scene.world_from_ego[:, :3, 3]).max(initial=0)
    if farthest > MAX_FROM_ORIGIN:
        yield f"world_from_ego reaches {farthest:.0f} m from the origin; start the world at the first pose."
    if not scene.frames:
        yield "frames: there are none; add at least one."
    elif all(frame.split != "train" for frame in scene.frames):
        yield "frames: none has the split 'train'; add at least one."


def _duplicates(scene: SceneData) -> Iterator[str]:
    keyed = [
        *((_frame_key(f), f.image.name) for f in scene.frames),
        *((f"box of track {b.track_id!r} at time index {b.time_index}", "") for b in scene.boxes),
        *((f"sweep of {s.sensor!r} at time index {s.time_index}", s.points.name) for s in scene.sweeps),
    ]
    first: dict[str, str] = {}
    for key, name in keyed:
        if key in first:
            files = f" ({first[key]}, {name})" if name else ""
            yield f"duplicate {key}{files}; keep one of them."
        first.setdefault(key, name)


def _frame_key(frame: Frame) -> str:
    """Describe a frame by the values that must be unique; test cameras may have several poses at one time."""
    key = f"{frame.split} frame of camera {frame.camera!r} at time index {frame.time_index}"
    return key if frame.split == "train" else f"{key} at {np.round(frame.world_from_camera[:3, 3], 3).tolist()}"


def _frame(scene: SceneData, frame: Frame) -> Iterator[str]:
    if not frame.camera:
        yield "the camera has no name; add one"
    if frame.split not in SPLITS:
        yield f"split = {frame.split!r}; use one of {', '.join(SPLITS)}"
    if frame.exposure_id < 0:
        yield f"exposure_id = {frame.exposure_id} is negative; number exposures from 0"
    yield from (f"mask {k!r} does not exist; use one of {', '.join(MASKS)}" for k in set(frame.masks) - set(MASKS))
    if frame.distortion is not None and (len(frame.distortion) not in SIZES or not np.isfinite(frame.distortion).all()):
        yield f"distortion = {frame.distortion.tolist()}; use 5 (k1, k2, p1, p2, k3) or 12 finite numbers, or null"
    if frame.readout is not None and not np.isfinite(frame.readout.motion).all():
        yield f"readout.motion = {frame.readout.motion.tolist()}; use six finite numbers, or no readout"
    yield from _intrinsics(frame)
    yield from _rigid("world_from_camera", frame.world_from_camera)
    yield from _index(scene, frame.time_index) or _placement(scene, frame)


def _placement(scene: SceneData, frame: Frame) -> Iterator[str]:
    """Compare the time and the position of a frame with those of the ego vehicle."""
    time = scene.times[frame.time_index]
    step = np.median(np.diff(scene.times)) if len(scene.times) > 1 else np.inf
    if not np.isfinite(frame.time) or abs(frame.time - time) > step:
        yield f"time = {frame.time} is far from {time} s of its time index; use seconds from the start"
    if frame.time_index < len(scene.world_from_ego):
        offset = frame.world_from_camera[:3, 3] - scene.world_from_ego[frame.time_index, :3, 3]
        if np.linalg.norm(offset) > MAX_CAMERA_DISTANCE:
            yield (
                f"the camera is {np.linalg.norm(offset):.1f} m from the ego vehicle (more than "
                f"{MAX_CAMERA_DISTANCE:g}); use the same world frame for both poses, in meters"
            )


def _intrinsics(frame: Frame) -> Iterator[str]:
    K, size = frame.K, f"{frame.width}x{frame.height}"
    if frame.width < 1 or frame.height < 1:
        yield f"the image size is {size}; use pixels"
        return
    if not np.isfinite(K).all():
        yield f"K has a value that is not finite: {K.tolist()}; calibrate the camera"
        return
    if not np.array_equal(K[2], [0, 0, 1]) or K[1, 0] != 0 or K[0, 1] != 0:
        yield f"K = {K.tolist()} is not [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]; rectify the camera"
    for name, focal in (("fx", K[0, 0]), ("fy", K[1, 1])):
        if not FOCAL_RANGE[0] <= focal / frame.width <= FOCAL_RANGE[1]:
            yield f"{name} = {focal} px does not fit an image of {size}; use K in pixels of this image"
    if not (0 < K[0, 2] < frame.width and 0 < K[1, 2] < frame.height):
        yield f"the principal point ({K[0, 2]}, {K[1, 2]}) is outside the image of {size}; correct K"


def _frame_files(frame: Frame, decode: bool) -> Iterator[str]:
    sources = {"image": (frame.image, (frame.height, frame.width, 3))}
    sources |= {f"{kind} mask": (s, (frame.height, frame.width)) for kind, s in frame.masks.items()}
    for name, (source, shape) in sources.items():
        if isinstance(source, ImageFile | MaskFile):
            size = _result_or_error(partial(image_size, source.path))
            if isinstance(size, str):
                yield f"{name}: {size}"
                continue
            if size != (frame.width, frame.height):
                yield (
                    f"the {name} {source.path} is {size[0]}x{size[1]}, the frame says "
                    f"{frame.width}x{frame.height}; correct one of them"
                )
                continue
        if decode:
            yield from _pixels(name, source, shape)


def _pixels(name: str, source: Source, shape: tuple[int, ...]) -> Iterator[str]:
    pixels = _result_or_error(source.load)
    if isinstance(pixels, str):
        yield f"{name}: {pixels}"
    elif pixels.shape != shape:
        yield f"the {name} has shape {pixels.shape}, expected {shape}; correct one of them"
    elif not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
        yield f"the {name} has values outside [0, 1], from {pixels.min()} to {pixels.max()}; scale it"


def _sweep(scene: SceneData, sweep: LidarSweep, decode: bool) -> Iterator[str]:
    yield from _rigid("world_from_lidar", sweep.world_from_lidar)
    yield from _index(scene, sweep.time_index)
    if not decode and not isinstance(sweep.points, PointFile):
        return
    points = _result_or_error(sweep.points.load)
    if isinstance(points, str):
        yield points
    elif points.ndim != 2 or points.shape[1] != 4:
        yield f"the points have shape {points.shape}; expected (N, 4): x, y, z, intensity"
    elif len(points) == 0:
        yield "it has no points; remove the sweep"
    elif not np.isfinite(points).all():
        yield f"point {np.flatnonzero(~np.isfinite(points).all(1))[0]} is not finite; remove such points"
    elif np.abs(points[:, :3]).max() > MAX_LIDAR_RANGE:
        yield f"a coordinate of {np.abs(points[:, :3]).max():.0f} is not a LiDAR range in meters; convert it"


def _box(scene: SceneData, box: Box) -> Iterator[str]:
    yield from _index(scene, box.time_index)
    yield from _rigid("world_from_object", box.world_from_object)
    if box.category not in CATEGORIES:
        yield f"category = {box.category!r}; use one of {', '.join(CATEGORIES)}"
    if not (np.isfinite(box.size).all() and (box.size > 0).all()):
        yield f"size = {box.size.tolist()}; use a positive length, width and height in meters"
    if box.num_points < -1:
        yield f"num_points = {box.num_points}; use a count, or -1 if it is unknown"


def _lane(kind: str, points: Shaped[Array, "M 3"]) -> Iterator[str]:
    if kind not in LANE_KINDS:
        yield f"kind = {kind!r}; use one of {', '.join(LANE_KINDS)}"
    if len(points) < 2:
        yield f"it has {len(points)} point(s); a line needs two"
    if not np.isfinite(points).all():
        yield f"point {np.flatnonzero(~np.isfinite(points).all(1))[0]} is not finite; remove it"


def _sparse(scene: SceneData) -> Iterator[str]:
    if scene.points is None:
        return
    xyz, rgb = scene.points.xyz, scene.points.rgb
    if not np.isfinite(xyz).all():
        yield f"point {np.flatnonzero(~np.isfinite(xyz).all(1))[0]} is not finite; remove such points"
    if rgb is not None and rgb.shape != xyz.shape:
        yield f"rgb has shape {rgb.shape} for xyz of shape {xyz.shape}; expected one color per point"
    elif rgb is not None and not ((rgb >= 0) & (rgb <= 1)).all():
        yield f"rgb goes from {rgb.min()} to {rgb.max()}; scale colors to [0, 1]"


def _index(scene: SceneData, time_index: int) -> tuple[str, ...]:
    if 0 <= time_index < len(scene.times):
        return ()
    return (f"time index {time_index} is outside 0..{len(scene.times) - 1}; it counts the entries of times",)


def _rigid(name: str, pose: Shaped[Array, "4 4"]) -> Iterator[str]:
    if not np.isfinite(pose).all():
        yield f"{name} has a value that is not finite: {pose.tolist()}; drop it or interpolate the pose"
        return
    rotation = pose[:3, :3]
    error = np.abs(rotation.T @ rotation - np.eye(3)).max()
    if error > RIGID_TOLERANCE or np.linalg.det(rotation) < 0 or not np.allclose(pose[3], [0, 0, 0, 1]):
        yield (
            f"{name} is not rigid (R^T R differs from I by {error:.2g}, det {np.linalg.det(rotation):.3g}, "
            f"last row {pose[3].tolist()}); use a right-handed rotation and a translation, without scale"
        )


def _result_or_error(load: Callable[[], T]) -> T | str:
    """Call `load`; on a ValueError return its text without the final period."""
    try:
        return load()
    except ValueError as error:
        return str(error).rstrip(".")
