"""The fix event of the progressive loop: render off the path with EIG, fix, and store the result as pseudo-views.

Steps 1 to 3 of FaithFusion (section 3): render + EIG -> fix -> distill; the distillation itself is the ordinary
training step on pseudo-views. A pixel of a pseudo-view is weighted by its EIG at the time of the event and by the
measured skill of the fixer on this log. Measured points, projected into the view, supervise its depth (section 3).
Other signals can take the place of EIG, for every use (`pipeline.signals`).
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key

from ff_jax.data.padding import pad_image
from ff_jax.data.points.surface import SurfacePoints, surface_depth
from ff_jax.data.recording import Recording
from ff_jax.data.scene_data import Frame, SceneData
from ff_jax.eig import EigConfig, eig_weight
from ff_jax.eig.scene_posterior import EigRender, ScenePosterior
from ff_jax.eig.signals import RecordedScene
from ff_jax.fixers.fixer import Fixer, fix, with_context_frames, without_context
from ff_jax.fixers.skill import Skill, skill_weight
from ff_jax.pipeline.fixer_inputs import NovelClip, fixer_inputs
from ff_jax.pipeline.references import render_clip
from ff_jax.pipeline.signals import Signals
from ff_jax.render.camera import require_pinhole
from ff_jax.scene import SceneModel, View
from ff_jax.train.batch import as_float
from ff_jax.train.batches import TrainBatches, shifted_frame, shifted_view
from ff_jax.train.pseudo_views import PseudoClip, PseudoViews, append

SIDEWAYS = 30.0  # degrees


@dataclasses.dataclass(frozen=True)
class FixEvent:
    """The inputs of one fix event.

    Attributes:
        model: the scene at the time of the event.
        posterior: of the scene given the recorded views.
        batches: recorded frames: the shifted paths start from them, and they are the references of the fixer.
        fixer: repairs the renders.
        skill: of the fixer on this log.
        points: measured points of the log; None if it has none.
        shifts: lateral shifts of the clips, meters, left positive.
        config: how EIG becomes a weight.
        stride: every n-th recorded frame is rendered.
        signals: the signals of the scene; None takes exact EIG for every use.
    """

    model: SceneModel
    posterior: ScenePosterior
    batches: TrainBatches
    fixer: Fixer
    skill: Skill
    points: SurfacePoints | None
    shifts: Sequence[float]
    config: EigConfig
    stride: int = 1
    signals: Signals | None = None


class Repair(NamedTuple):
    """A path beside the recorded one, rendered and repaired."""

    frames: list[Frame]  # the recorded frames, moved
    views: list[View]
    clip: EigRender  # renders with colors in [0, 1]
    fixed: Float[Array, "T H W 3"]
    signal: Float[Array, "T H W"]  # of the loss weight: EIG in nats, or another signal on its scale


def repair(key: Key[Array, ""], event: FixEvent, shift: float, frames: Sequence[int] | None = None) -> Repair:
    """Render recorded frames from `shift` meters to the left, and fix the renders.

    A video fixer also gets views on the way from the first recorded pose to the path; the first of them is recorded.

    Args:
        key: randomness of the fixer.
        event: scene, posterior, recorded frames and fixer.
        shift: meters, left positive.
        frames: indices of the recorded frames, in the order of the clip; None takes all.
    """
    batches, fixer = event.batches, event.fixer
    recording, count = batches.recording, event.fixer.num_context_frames
    frames = list(range(len(batches)) if frames is None else frames)
    recorded = recording.padded_frames
    shifts = [shift * part / count for part in range(count)] + [shift] * len(frames)
    nearest = [frames[0]] * count + frames
    moved = [shifted_frame(recorded[i], recording.log, own) for i, own in zip(nearest, shifts, strict=True)]
    views = [shifted_view(recorded[i], recording.log, own) for i, own in zip(nearest, shifts, strict=True)]
    clip = render_clip(event.model, event.posterior, views)
    scene = RecordedScene(event.model, batches, event.config.priors, event.posterior)
    made = fixer_inputs(fixer, clip, NovelClip(views, moved, nearest), scene, event.signals)
    inputs, blend = (made.frames, made.guidance, made.references), made.blend
    if count:
        inputs = with_context_frames(*inputs, as_float(batches.batch(frames[0]).image)[None])
        blend = None if blend is None else without_context(blend, 1)
    fixed = fix(fixer, key, *inputs, made.conditions, blend)
    clip = jax.tree.map(lambda x: x[count:], clip)
    return Repair(moved[count:], views[count:], clip, fixed[count:], made.weight[count:])


def split_paths(recording: Recording, stride: int, by_camera: bool) -> list[list[int]]:
    """List every `stride`-th recorded frame, as one path or as one path per camera (for video fixers).

    Cameras that look to the side are left out if there are others: a lateral shift moves them into what they see.
    """
    across = [_looks_sideways(frame, recording.log) for frame in recording.frames]
    indices = [index for index, sideways in enumerate(across) if not sideways or all(across)][::stride]
    if not by_camera:
        return [indices]
    camera_of = [frame.camera for frame in recording.frames]
    names = dict.fromkeys(camera_of[index] for index in indices)
    return [[index for index in indices if camera_of[index] == name] for name in names]


def _looks_sideways(frame: Frame, log: SceneData) -> bool:
    """Return whether the optical axis is within `SIDEWAYS` degrees of the lateral axis of the ego vehicle."""
    axis, left = frame.world_from_camera[:3, 2], log.world_from_ego[frame.time_index][:3, 1]
    return abs(float(axis @ left)) > math.cos(math.radians(SIDEWAYS))


def add_pseudo_views(key: Key[Array, ""], views: PseudoViews, event: FixEvent) -> PseudoViews:
    """Render, fix and append one clip per shift and path; context frames are not stored."""
    paths = split_paths(event.batches.recording, event.stride, by_camera=event.fixer.overlap > 0)
    for number, (shift, path) in enumerate(itertools.product(event.shifts, paths)):
        repaired = repair(jax.random.fold_in(key, number), event, shift, path)
        frames = [event.batches.recording.frames[index] for index in path]
        views = append(views, pseudo_clip(repaired, event, frames))
    return views


def pseudo_clip(repaired: Repair, event: FixEvent, frames: Sequence[Frame]) -> PseudoClip:
    """Convert a repaired path to a clip for training.

    The weight of a pixel is that of its EIG, at least `config.floor`, times that of the fixer's skill at this EIG: a
    repair that does not help is not trained on. It is 0 where the images of `frames` are padded.
    """
    config, eig = event.config, repaired.signal
    weights = jnp.maximum(eig_weight(eig, config.kappa), config.floor) * skill_weight(event.skill, eig)
    cameras = [view.camera for view in repaired.views]
    size = cameras[0].width, cameras[0].height
    for camera in cameras:
        require_pinhole(camera, "training on repaired views")
    inside = [pad_image(np.ones((f.height, f.width), np.float32), size, fill=True) for f in frames]
    return PseudoClip(
        images=repaired.fixed,
        weights=weights * np.stack(inside),
        depth=measured_depth(repaired, event),
        K=jnp.stack([camera.K for camera in cameras]),
        camera_from_world=jnp.stack([camera.camera_from_world for camera in cameras]),
        times=jnp.stack([view.time for view in repaired.views]),
        offsets=jnp.stack([jnp.zeros(3) if view.offset is None else view.offset for view in repaired.views]),
    )


def measured_depth(repaired: Repair, event: FixEvent) -> Float[Array, "T H W"]:
    """Project the measured points of the log into a path; 0 where there are none."""
    if event.points is None:
        return jnp.zeros(repaired.clip.eig.shape)
    recording, rendered = event.batches.recording, np.asarray(repaired.clip.depth)
    pairs = zip(repaired.frames, rendered, strict=True)
    return jnp.asarray(np.stack([surface_depth(event.points, recording, frame, depth) for frame, depth in pairs]))
