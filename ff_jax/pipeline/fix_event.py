"""The progressive loop's event: render off the path with EIG, fix, and put the result into the pool.

Steps 1 to 3 of FaithFusion (section 3): render + EIG -> fix -> distil; the distillation itself is the ordinary
training step on pool batches, weighted by EIG.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key

from ff_jax import eig
from ff_jax.data.scene_data import Frame
from ff_jax.eig.scene_posterior import Clip, Knowledge, look
from ff_jax.fixers.fixer import Fixer, anchored, fix
from ff_jax.fixers.reprojection import AlignConfig, Views, align, nearest_sources
from ff_jax.render.camera import make_camera
from ff_jax.render.renderer import RenderSettings
from ff_jax.render.trajectories import shift_laterally, tilted
from ff_jax.scene import Scene
from ff_jax.scene.scene import View
from ff_jax.train.batches import Feed, view_of
from ff_jax.train.loop import count_needed, fitted
from ff_jax.train.pseudo_views import Pool, push
from ff_jax.train.step import as_float


@dataclasses.dataclass(frozen=True)
class EigConfig:
    """How EIG steers the loop.

    Attributes:
        kappa: EIG at which a pixel is believed to 1 - 1/e, nats (weight = 1 - exp(-EIG / kappa)).
        tau: EIG that parts under-constrained from well-constrained pixels, nats.
        floor: smallest weight of a pseudo-view pixel in distillation; 0 leaves well-known pixels alone, 1 believes all.
        guide: whether fixers are told EIG, and their repairs blended by it; without, they repair all pixels alike.
        priors: what is believed before any view.
    """

    kappa: float = 0.5
    tau: float = 0.4
    floor: float = 0.0
    guide: bool = True
    priors: eig.Priors = eig.Priors()


def shifted_view(frame: Frame, world_from_ego: Float[np.ndarray, "T 4 4"], shift: float, tilt: float = 0.0) -> View:
    """Return what the camera of a recorded frame would see `shift` metres to the left, with its exposure.

    `tilt` turns it upwards, radians.
    """
    pose = tilted(shift_laterally(frame.world_from_camera, world_from_ego[frame.time_index], shift), tilt)
    view = view_of(frame, frame.exposure_id)
    return view._replace(camera=make_camera(frame.K, pose, frame.width, frame.height))


def render_clip(
    scene: Scene, known: Knowledge, views: Sequence[View], settings: RenderSettings, sh_degree: int
) -> Clip:
    """Render views one after another, with EIG; the capacity grows if they need more."""
    settings = fitted(settings, count_needed(scene, views, settings))
    frames = [look(scene, known, view, settings, jnp.int32(sh_degree)) for view in views]
    return Clip(*(jnp.stack(parts) for parts in zip(*frames, strict=True)))


def aligned_references(
    clip: Clip, views: Sequence[View], known: Knowledge, feed: Feed, config: AlignConfig, skip: int = 0
) -> Float[Array, "T H W 3"]:
    """Return what the recorded images of `feed` show at the pixels of a rendered clip (see `generators.align`).

    Views come one by one, so that no more recorded images are needed at a time than one view takes.
    `skip` leaves out that many recorded images nearest in time.
    """
    times = np.array([float(view.time) for view in views])
    nearest = nearest_sources(times, np.array([frame.time for frame in feed.frames], np.float32), config.sources, skip)

    def one(number: int) -> Float[Array, "1 H W 3"]:
        recorded = [feed.batch(int(index)) for index in nearest[number]]
        images = jnp.stack([as_float(batch.image) for batch in recorded])
        sources = _placed(images, known.depths[nearest[number]], [batch.view for batch in recorded])
        seen = _placed(clip.rgb[number][None], clip.depth[number][None], [views[number]])
        return align(seen, sources, jnp.arange(len(recorded))[None], config)

    return jnp.concatenate([one(number) for number in range(len(views))])


def _placed(images: Float[Array, "T H W 3"], depths: Float[Array, "T H W"], views: Sequence[View]) -> Views:
    cameras = [view.camera for view in views]
    stacked = (jnp.stack([getattr(camera, name) for camera in cameras]) for name in ("K", "camera_from_world"))
    return Views(images, depths, *stacked)


def references_for(
    fixer: Fixer, clip: Clip, views: Sequence[View], nearest: Sequence[int], known: Knowledge, feed: Feed
) -> Float[Array, "T H W 3"]:
    """Return the references that a fixer asks for: recorded images of about the same time, aligned or as they are."""
    if fixer.aligned:
        return aligned_references(clip, views, known, feed, AlignConfig())
    return jnp.stack([as_float(feed.batch(index).image) for index in nearest])


class Repaired(NamedTuple):
    """A path beside the recorded one, as the scene shows it and as a fixer repairs it."""

    views: list[View]
    clip: Clip  # the renders, in [0, 1]
    fixed: Float[Array, "T H W 3"]


def repair(
    key: Key[Array, ""],
    scene: Scene,
    known: Knowledge,
    feed: Feed,
    fixer: Fixer,
    shift: float,
    settings: RenderSettings,
    sh_degree: int,
    picked: Sequence[int] | None = None,
) -> Repaired:
    """Render recorded frames from `shift` metres to the left, and fix what comes out; see `add_pseudo_views`.

    A fixer of videos also sees a slide from the first frame, whose recorded image it starts from.

    Args:
        picked: numbers of the recorded frames, in the order in which they form a clip; None takes all.
    """
    picked = list(range(len(feed.frames)) if picked is None else picked)
    poses, lead = feed.scene.world_from_ego, fixer.lead
    views = lead_in(feed.frames[picked[0]], poses, shift, lead)
    views += [shifted_view(feed.frames[index], poses, shift) for index in picked]
    clip = render_clip(scene, known, views, settings, sh_degree)
    clip = clip._replace(rgb=jnp.clip(clip.rgb, 0.0, 1.0))
    inputs = clip.rgb, clip.eig, references_for(fixer, clip, views, [picked[0]] * lead + picked, known, feed)
    if lead:
        inputs = anchored(*inputs, as_float(feed.batch(picked[0]).image)[None])
    fixed = fix(fixer, key, *inputs)
    return Repaired(views[lead:], jax.tree.map(lambda x: x[lead:], clip), fixed[lead:])


def lead_in(frame: Frame, world_from_ego: Float[np.ndarray, "T 4 4"], shift: float, count: int) -> list[View]:
    """Return `count` views that slide from a recorded frame towards `shift`, at its time and not reaching it."""
    return [shifted_view(frame, world_from_ego, shift * part / count) for part in range(count)]


def paths(feed: Feed, stride: int, apart: bool) -> list[list[int]]:
    """Return every `stride`-th recorded frame, as one list or camera by camera, as a video needs it (`apart`)."""
    picked = list(range(0, len(feed.frames), stride))
    if not apart:
        return [picked]
    own = lambda camera: [index for index in picked if feed.frames[index].camera == camera]
    return [own(camera) for camera in dict.fromkeys(feed.frames[index].camera for index in picked)]


def add_pseudo_views(
    key: Key[Array, ""],
    pool: Pool,
    scene: Scene,
    known: Knowledge,
    feed: Feed,
    fixer: Fixer,
    shifts: Sequence[float],
    settings: RenderSettings,
    sh_degree: int,
    config: EigConfig,
    stride: int = 1,
) -> Pool:
    """Render, fix and store one clip per shift; what leads to it, if the fixer asks for that, is not stored.

    Args:
        key: randomness of the fixer.
        pool: where the clips go.
        scene: the scene as it is now.
        known: from `learn`.
        feed: recorded frames: paths start from them, and they are the fixer's references.
        fixer: the generator.
        shifts: lateral shifts of the clips, metres, left positive.
        settings: renderer settings.
        sh_degree: highest colour band that is active.
        config: how EIG becomes a weight.
        stride: every n-th recorded frame is rendered.
    """
    for number, (shift, picked) in enumerate(itertools.product(shifts, paths(feed, stride, apart=fixer.overlap > 0))):
        own = jax.random.fold_in(key, number)
        views, clip, fixed = repair(own, scene, known, feed, fixer, shift, settings, sh_degree, picked)
        weight = jnp.maximum(eig.eig_weight(clip.eig, config.kappa), config.floor)
        cameras = [view.camera for view in views]
        pool = push(
            pool,
            fixed,
            weight,
            jnp.stack([camera.K for camera in cameras]),
            jnp.stack([camera.camera_from_world for camera in cameras]),
            jnp.stack([view.time for view in views]),
        )
    return pool
