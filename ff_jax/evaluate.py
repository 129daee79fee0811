"""Score a scene at lateral shifts: PSNR and SSIM against ground truth where it exists, EIG everywhere."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ff_jax.camera import make_camera
from ff_jax.data.contract import Frame, SceneData, invert
from ff_jax.data.loader import load_image, load_mask
from ff_jax.metrics.image import psnr, ssim
from ff_jax.scene.scene import View
from ff_jax.train.feed import view_of
from ff_jax.trajectory import shift_laterally

ENOUGH = 20  # moving pixels that give a figure of their own

# (view) -> (rgb (H, W, 3), EIG (H, W) nats): how a scene is looked at
Look = Callable[[View], tuple[Float[np.ndarray, "H W 3"], Float[np.ndarray, "H W"]]]


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


class ShiftScore(NamedTuple):
    """Means over the frames of one shift."""

    shift: float
    frames: int
    psnr: float
    ssim: float
    eig: float
    psnr_dynamic: float = math.nan


def recorded_neighbour(frame: Frame, log: SceneData) -> Frame:
    """Return the training frame nearest in time to `frame`, of the same camera if there is one."""
    recorded = [f for f in log.frames if f.split == "train"]
    return min(recorded, key=lambda f: (abs(f.time - frame.time), f.camera != frame.camera))


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
            exposure = recorded_neighbour(frame, log).exposure_id
            found.setdefault(shift, []).append(
                Target(shift, view_of(frame, exposure), frame, True, frame.world_from_camera)
            )
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


def score(look: Look, target: Target, *, moving: bool = False) -> FrameScore:
    """Render one target and compare it with its ground truth.

    Pixels that are not valid are left out, and so are those that move unless the scene models what moves.
    """
    rgb, eig = look(target.view)
    if not target.has_truth:
        return FrameScore(target.shift, target.frame.time, math.nan, math.nan, float(np.mean(eig)))
    truth = load_image(target.frame)
    valid, dynamic = (load_mask(target.frame, kind) > 0.5 for kind in ("valid", "dynamic"))
    counted = valid if moving else valid & ~dynamic
    mask = None if counted.all() else jnp.asarray(counted)
    rgb = jnp.clip(rgb, 0.0, 1.0)
    enough = (valid & dynamic).sum() >= ENOUGH
    return FrameScore(
        target.shift,
        target.frame.time,
        float(psnr(rgb, truth, mask)),
        float(ssim(rgb, truth, mask)),
        float(np.mean(eig)),
        float(psnr(rgb, truth, jnp.asarray(valid & dynamic))) if enough else math.nan,
    )


def by_shift(scores: list[FrameScore]) -> list[ShiftScore]:
    """Average frame scores per shift, in order of shift."""
    out = []
    for shift in sorted({score.shift for score in scores}):
        rows = [score for score in scores if score.shift == shift]
        mean = lambda name, rows=rows: float(np.mean([getattr(row, name) for row in rows]))
        seen = [row.psnr_dynamic for row in rows if math.isfinite(row.psnr_dynamic)]
        dynamic = float(np.mean(seen)) if seen else math.nan
        out.append(ShiftScore(shift, len(rows), mean("psnr"), mean("ssim"), mean("eig"), dynamic))
    return out
