"""Score a scene at lateral shifts: PSNR, SSIM and LiDAR depth where there is ground truth, EIG everywhere."""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from ff_jax.data.loader import load_image, load_mask
from ff_jax.data.scene_data import Frame, SceneData, invert_rigid
from ff_jax.metrics import lidar_depth
from ff_jax.metrics.image import psnr, ssim
from ff_jax.render.camera import make_camera
from ff_jax.render.trajectories import shift_laterally
from ff_jax.scene import View
from ff_jax.scene.exposure import ExposureBlend
from ff_jax.train.batches import view_of, view_offset

MAX_PATH_ERROR = 0.3  # lateral offset of a held-out frame, as a share of the way to the nearest frame trained on
MIN_MOVING_PIXELS = 20  # for a PSNR of moving objects

SKY = 1e3  # meters: depths of the sky are larger

Item = TypeVar("Item")


class RenderArrays(NamedTuple):
    """A render with its EIG map, as NumPy arrays."""

    rgb: Float[np.ndarray, "H W 3"]
    eig: Float[np.ndarray, "H W"]  # nats
    depth: Float[np.ndarray, "H W"]  # expected camera z, meters; `SKY_DEPTH` in the sky


RenderFn = Callable[[View], RenderArrays]


class Target(NamedTuple):
    """One view to score."""

    shift: float  # meters, left positive
    view: View
    frame: Frame  # the test frame itself, or the recorded frame that was moved
    has_truth: bool
    pose: Float[np.ndarray, "4 4"]  # world_from_camera, meters


class FrameScore(NamedTuple):
    """One rendered view against its ground truth."""

    shift: float  # meters, left positive
    time: float  # seconds
    psnr: float  # dB; nan without ground truth
    ssim: float  # nan without ground truth
    eig: float  # mean over the pixels, nats
    psnr_dynamic: float = math.nan  # dB, over moving objects; nan without any
    depth_mae: float = math.nan  # mean absolute error of depth at LiDAR points, meters; nan without a sweep
    depth_median: float = math.nan  # median of the same, meters
    depth_rel: float = math.nan  # mean of the same, relative to the measured depth
    depth_covered: float = math.nan  # share of LiDAR points with a rendered depth; the errors are over these


class ShiftScore(NamedTuple):
    """Means over the frames of one shift; nan frames are left out of the optional ones."""

    shift: float
    frames: int
    psnr: float
    ssim: float
    eig: float
    psnr_dynamic: float = math.nan
    depth_mae: float = math.nan
    depth_median: float = math.nan
    depth_rel: float = math.nan
    depth_covered: float = math.nan


def nearest_recorded(frame: Frame, log: SceneData) -> Frame:
    """Find the training frame nearest in time to `frame`, of the same camera if it has any."""
    return min(_recorded(frame, log), key=lambda f: abs(f.time - frame.time))


def _recorded(frame: Frame, log: SceneData) -> list[Frame]:
    """List the training frames of the camera of `frame`; all training frames if it has none."""
    recorded = [f for f in log.frames if f.split == "train"]
    return [f for f in recorded if f.camera == frame.camera] or recorded


def exposure_between(frame: Frame, log: SceneData) -> ExposureBlend:
    """Interpolate the exposure of a test frame between the training frames before and after it.

    They are of the same camera if it has any. Before the first and after the last of them, theirs is used.
    """
    recorded = sorted(_recorded(frame, log), key=lambda f: f.time)
    after = next((f for f in recorded if f.time >= frame.time), recorded[-1])
    before = next((f for f in reversed(recorded) if f.time <= frame.time), recorded[0])
    span = after.time - before.time
    share = (frame.time - before.time) / span if span > 0 else 0.0
    return ExposureBlend(before.exposure_id, after.exposure_id, float(share))


def lateral_offset(frame: Frame, log: SceneData) -> float:
    """Measure how far to the left of the recording camera `frame` was taken, in meters, rounded to centimeters.

    Both positions are along y of the ego frame of their own time, so the times may differ. A held-out frame, the only
    one of its camera and time, is on the recorded path unless it is far beside it: rigs have poses with errors.
    """

    def lateral_position(f: Frame) -> float:
        return float((invert_rigid(log.world_from_ego[f.time_index]) @ f.world_from_camera)[1, 3])

    near = nearest_recorded(frame, log)
    difference = lateral_position(frame) - lateral_position(near)
    alone = [f for f in log.frames if (f.camera, f.time_index) == (frame.camera, frame.time_index)] == [frame]
    step = np.linalg.norm(frame.world_from_camera[:3, 3] - near.world_from_camera[:3, 3])
    on_path = alone and near.camera == frame.camera and abs(difference) <= MAX_PATH_ERROR * step
    return 0.0 if on_path else round(difference, 2) + 0.0  # + 0.0: no negative zero


def evenly_spaced(items: list[Item], count: int) -> list[Item]:
    """Select at most `count` of `items`, evenly spaced."""
    if len(items) <= count:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


def targets(log: SceneData, shifts: tuple[float, ...], count: int) -> list[Target]:
    """List the views to score: test frames by their shift, and views without a true image at other shifts.

    Views are in order of shift, camera and time.

    Args:
        log: the driving log.
        shifts: requested shifts, meters.
        count: at most this many views per shift.
    """
    groups: dict[float, list[Target]] = {}
    for frame in log.frames:
        if frame.split == "test":
            shift = lateral_offset(frame, log)
            view = view_of(frame, exposure_between(frame, log))
            view = view._replace(offset=view_offset(log, frame.time_index, shift))
            groups.setdefault(shift, []).append(Target(shift, view, frame, True, frame.world_from_camera))
    for shift in shifts:
        if not any(abs(shift - other) < 0.02 for other in groups):
            groups[shift] = [shifted_target(frame, log, shift) for frame in log.frames if frame.split == "train"]
    for group in groups.values():
        group.sort(key=lambda target: (target.frame.camera, target.frame.time_index))
    return [target for shift in sorted(groups) for target in evenly_spaced(groups[shift], count)]


def shifted_target(frame: Frame, log: SceneData, shift: float) -> Target:
    """Make the target `shift` meters to the left of a recorded frame; at 0 the recorded image is the true image."""
    pose = shift_laterally(frame.world_from_camera, log.world_from_ego[frame.time_index], shift)
    camera = make_camera(frame.K, pose, frame.width, frame.height)
    offset = view_offset(log, frame.time_index, shift)
    view = view_of(frame, frame.exposure_id)._replace(camera=camera, offset=offset)
    return Target(shift, view, frame, shift == 0.0, pose)


def growing_targets(log: SceneData, rate: float) -> list[Target]:
    """Make a path that leaves the recorded one by `rate` meters per frame to the left (DriveDreamer4D: 0.1).

    The offset grows along the lateral axis of the first ego pose, as published. All views carry the last offset as
    their shift, so that they are scored as one; there is no true image.

    Args:
        log: the driving log; the path follows its training frames, each camera by itself.
        rate: meters per frame; negative is to the right.
    """
    recorded = sorted((f for f in log.frames if f.split == "train"), key=lambda f: (f.camera, f.time_index))
    numbers = [sum(other.camera == frame.camera for other in recorded[:i]) for i, frame in enumerate(recorded)]
    views = []
    for frame, number in zip(recorded, numbers, strict=True):
        pose = shift_laterally(frame.world_from_camera, log.world_from_ego[recorded[0].time_index], rate * number)
        offset = view_offset(log, recorded[0].time_index, rate * number)
        camera = make_camera(frame.K, pose, frame.width, frame.height)
        view = view_of(frame, frame.exposure_id)._replace(camera=camera, offset=offset)
        views.append(Target(round(rate * max(numbers), 2), view, frame, False, pose))
    return views


def score(render: RenderFn, target: Target, log: SceneData, *, use_moving: bool = False) -> FrameScore:
    """Render one target of a log and compare it with its ground truth.

    Invalid pixels are left out, and so are moving objects unless the scene models them.
    """
    rgb, eig, depth = render(target.view)
    if not target.has_truth:
        return FrameScore(target.shift, target.frame.time, math.nan, math.nan, float(np.mean(eig)))
    truth = load_image(target.frame)
    mask, dynamic = score_masks(target.frame, use_moving=use_moving)
    valid = None if mask.all() else jnp.asarray(mask)
    clipped = jnp.clip(rgb, 0.0, 1.0)
    has_motion = dynamic.sum() >= MIN_MOVING_PIXELS
    return FrameScore(
        target.shift,
        target.frame.time,
        psnr=float(psnr(clipped, truth, valid)),
        ssim=float(ssim(clipped, truth, valid)),
        eig=float(np.mean(eig)),
        psnr_dynamic=float(psnr(clipped, truth, jnp.asarray(dynamic))) if has_motion else math.nan,
        **depth_errors(depth, target.frame, log, mask),
    )


def score_masks(frame: Frame, *, use_moving: bool) -> tuple[Bool[np.ndarray, "H W"], Bool[np.ndarray, "H W"]]:
    """Select the pixels of a frame that are scored, and the valid pixels of moving objects."""
    valid, dynamic = (load_mask(frame, kind) > 0.5 for kind in ("valid", "dynamic"))
    return (valid if use_moving else valid & ~dynamic), valid & dynamic


def depth_errors(
    depth: Float[np.ndarray, "H W"], frame: Frame, log: SceneData, mask: Bool[np.ndarray, "H W"]
) -> dict[str, float]:
    """Compute the errors of a rendered depth at the LiDAR points of the frame's time; empty without LiDAR.

    Args:
        depth: camera z, meters; nan or more than `SKY` where there is no surface.
        frame: of the view.
        log: with the sweeps.
        mask: pixels that are scored.
    """
    sweeps = [sweep.load_world() for sweep in log.sweeps if sweep.time_index == frame.time_index]
    if not sweeps:
        return {}
    camera = np.asarray(frame.K, float), frame.world_from_camera, frame.width, frame.height
    measured = lidar_depth.remove_occluded(lidar_depth.project_sweep(np.concatenate(sweeps).astype(float), *camera))
    result = lidar_depth.score(np.where(depth < SKY, depth, np.nan), np.where(mask, measured, 0))
    return {
        "depth_mae": result.mae,
        "depth_median": result.median,
        "depth_rel": result.abs_rel,
        "depth_covered": result.coverage,
    }


def by_shift(scores: list[FrameScore]) -> list[ShiftScore]:
    """Average frame scores per shift, in order of shift."""
    rows = []
    for shift in sorted({score.shift for score in scores}):
        frames = [score for score in scores if score.shift == shift]
        means = {name: float(np.mean([getattr(frame, name) for frame in frames])) for name in ("psnr", "ssim", "eig")}
        for name in FrameScore._field_defaults:
            values = [getattr(frame, name) for frame in frames]
            if finite := [value for value in values if math.isfinite(value)]:
                means[name] = float(np.mean(finite))
        rows.append(ShiftScore(shift, len(frames), **means))
    return rows
