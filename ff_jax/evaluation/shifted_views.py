"""Score a scene at lateral shifts: PSNR, SSIM and LiDAR depth where there is ground truth, EIG everywhere."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from ff_jax.data.loader import load_image, load_mask
from ff_jax.data.scene_data import Frame, SceneData, invert
from ff_jax.metrics import lidar_depth
from ff_jax.metrics.image import psnr, ssim
from ff_jax.render.camera import make_camera
from ff_jax.render.trajectories import shift_laterally
from ff_jax.scene.exposure import Between
from ff_jax.scene.scene import View
from ff_jax.train.batches import view_of

ENOUGH = 20  # moving pixels that give a figure of their own

SKY = 1e3  # metres: a scene renders sky as farther away

# (view) -> (rgb (H, W, 3), EIG (H, W) nats, depth (H, W) metres): how a scene is looked at
Look = Callable[[View], tuple[Float[np.ndarray, "H W 3"], Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]]]


class Target(NamedTuple):
    """One view to score."""

    shift: float  # metres, left positive
    view: View
    frame: Frame  # the test frame itself, or the recorded frame that was moved
    has_truth: bool
    pose: Float[np.ndarray, "4 4"]  # world_from_camera, metres


class FrameScore(NamedTuple):
    """One rendered view against its ground truth."""

    shift: float  # metres, left positive
    time: float  # seconds
    psnr: float  # dB; nan without ground truth
    ssim: float  # nan without ground truth
    eig: float  # mean over the pixels, nats
    psnr_dynamic: float = math.nan  # dB, where something moves; nan if nothing does
    depth_mae: float = math.nan  # mean absolute error of depth at LiDAR points, metres; nan without a sweep
    depth_median: float = math.nan  # median of the same, metres
    depth_rel: float = math.nan  # mean of the same over the depth measured
    depth_covered: float = math.nan  # share of LiDAR points where the render is opaque; the others do not count above


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


def recorded_neighbour(frame: Frame, log: SceneData) -> Frame:
    """Return the training frame nearest in time to `frame`, of the same camera if there is one."""
    recorded = [f for f in log.frames if f.split == "train"]
    return min(recorded, key=lambda f: (abs(f.time - frame.time), f.camera != frame.camera))


def exposure_between(frame: Frame, log: SceneData) -> Between:
    """Return the exposure of a frame that is not trained on: between the training frames before and after it.

    They are of the same camera if it has any. Before the first and after the last of them it is that one's.
    """
    recorded = sorted((f for f in log.frames if f.split == "train"), key=lambda f: f.time)
    recorded = [f for f in recorded if f.camera == frame.camera] or recorded
    after = next((f for f in recorded if f.time >= frame.time), recorded[-1])
    before = next((f for f in reversed(recorded) if f.time <= frame.time), recorded[0])
    span = after.time - before.time
    share = (frame.time - before.time) / span if span > 0 else 0.0
    return Between(before.exposure_id, after.exposure_id, float(share))


def lateral_offset(frame: Frame, log: SceneData) -> float:
    """Return how far to the left of the recording camera `frame` was taken, in metres, to the centimetre.

    Both are measured along y of the ego frame of their own time, so held-out time steps compare as well.
    """
    lateral = lambda f: (invert(log.world_from_ego[f.time_index]) @ f.world_from_camera)[1, 3]
    near = recorded_neighbour(frame, log)
    return round(float(lateral(frame) - lateral(near)), 2) + 0.0  # + 0.0: no negative zero


def spread(items: list, count: int) -> list:
    """Return at most `count` of `items`, evenly spread."""
    if len(items) <= count:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


def targets(log: SceneData, shifts: tuple[float, ...], count: int) -> list[Target]:
    """Return the views to score: test frames by their shift, and renders without truth at other shifts.

    Views are in order of shift, camera and time.

    Args:
        log: the driving log.
        shifts: shifts asked for, metres.
        count: at most this many views per shift.
    """
    found: dict[float, list[Target]] = {}
    for frame in log.frames:
        if frame.split == "test":
            shift = lateral_offset(frame, log)
            view = view_of(frame, exposure_between(frame, log))
            found.setdefault(shift, []).append(Target(shift, view, frame, True, frame.world_from_camera))
    for shift in shifts:
        if not any(abs(shift - known) < 0.02 for known in found):
            recorded = [f for f in log.frames if f.split == "train"]
            found[shift] = [shifted_target(f, log, shift) for f in recorded]
    in_order = lambda group: sorted(group, key=lambda target: (target.frame.camera, target.frame.time_index))
    return [target for shift in sorted(found) for target in spread(in_order(found[shift]), count)]


def shifted_target(frame: Frame, log: SceneData, shift: float) -> Target:
    """Return the view `shift` metres to the left of a recorded frame; at 0 the recording itself is the truth."""
    pose = shift_laterally(frame.world_from_camera, log.world_from_ego[frame.time_index], shift)
    camera = make_camera(frame.K, pose, frame.width, frame.height)
    view = view_of(frame, frame.exposure_id)._replace(camera=camera)
    return Target(shift, view, frame, shift == 0.0, pose)


def score(look: Look, target: Target, log: SceneData, *, moving: bool = False) -> FrameScore:
    """Render one target of a log and compare it with its ground truth.

    Pixels that are not valid are left out, and so are those that move unless the scene models what moves.
    """
    rgb, eig, depth = look(target.view)
    if not target.has_truth:
        return FrameScore(target.shift, target.frame.time, math.nan, math.nan, float(np.mean(eig)))
    truth = load_image(target.frame)
    counted, changing = counted_pixels(target.frame, moving=moving)
    mask = None if counted.all() else jnp.asarray(counted)
    rgb = jnp.clip(rgb, 0.0, 1.0)
    found = FrameScore(
        target.shift,
        target.frame.time,
        float(psnr(rgb, truth, mask)),
        float(ssim(rgb, truth, mask)),
        float(np.mean(eig)),
        float(psnr(rgb, truth, jnp.asarray(changing))) if changing.sum() >= ENOUGH else math.nan,
    )
    return found._replace(**depth_errors(depth, target.frame, log, counted))


def counted_pixels(frame: Frame, *, moving: bool) -> tuple[Bool[np.ndarray, "H W"], Bool[np.ndarray, "H W"]]:
    """Return the pixels of a frame that count, and the valid ones where something moves."""
    valid, dynamic = (load_mask(frame, kind) > 0.5 for kind in ("valid", "dynamic"))
    return (valid if moving else valid & ~dynamic), valid & dynamic


def depth_errors(
    depth: Float[np.ndarray, "H W"], frame: Frame, log: SceneData, counted: Bool[np.ndarray, "H W"]
) -> dict[str, float]:
    """Return the errors of a rendered depth at the LiDAR points of a frame's time; empty without any.

    Args:
        depth: camera z, metres; nan or more than `SKY` where nothing is.
        frame: whose view it is.
        log: whose sweeps measure.
        counted: pixels that count.
    """
    sweeps = [sweep.load_world() for sweep in log.sweeps if sweep.time_index == frame.time_index]
    if not sweeps:
        return {}
    place = np.asarray(frame.K, float), frame.world_from_camera, frame.width, frame.height
    measured = lidar_depth.visible(lidar_depth.project_sweep(np.concatenate(sweeps).astype(float), *place))
    found = lidar_depth.score(np.where(depth < SKY, depth, np.nan), np.where(counted, measured, 0))
    return {
        "depth_mae": found.mae,
        "depth_median": found.median,
        "depth_rel": found.abs_rel,
        "depth_covered": found.coverage,
    }


def by_shift(scores: list[FrameScore]) -> list[ShiftScore]:
    """Average frame scores per shift, in order of shift."""
    out = []
    for shift in sorted({score.shift for score in scores}):
        rows = [score for score in scores if score.shift == shift]
        mean = lambda name, rows=rows: float(np.mean([getattr(row, name) for row in rows]))
        out.append(ShiftScore(shift, len(rows), *map(mean, ("psnr", "ssim", "eig")), **_mean_of_known(rows)))
    return out


def _mean_of_known(rows: list[FrameScore]) -> dict[str, float]:
    """Return the means of the fields that only some frames have."""
    known = {
        name: [getattr(row, name) for row in rows if math.isfinite(getattr(row, name))] for name in FrameScore._fields
    }
    return {name: float(np.mean(known[name])) for name in FrameScore._field_defaults if known[name]}
