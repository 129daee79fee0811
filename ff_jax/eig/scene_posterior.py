"""What the recorded views of a log leave unknown about a scene, and how it looks from elsewhere with EIG."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from jaxtyping import Float, Int

from ff_jax import eig
from ff_jax.eig.residual_noise import noise_of_new_views, trust
from ff_jax.fixers.reprojection import expected_depth
from ff_jax.render.renderer import RenderSettings
from ff_jax.scene import Scene, compose, refined_camera, render_scene
from ff_jax.scene.scene import View
from ff_jax.train.batches import Feed
from ff_jax.train.step import Batch, as_float

_SAMPLE = 7  # every n-th pixel of a residual is enough for a median


@struct.dataclass
class Knowledge:
    """What the recorded views leave unknown about a scene."""

    posterior: eig.Posterior
    noise: Float[Array, ""]  # standard deviation of one channel of a new view, what the scene cannot show included
    depths: Float[Array, "F H W"]  # expected camera z at the recorded views, metres


class Evidence(NamedTuple):
    """What the recorded views say about a scene."""

    precision: eig.Precision
    noise: Float[Array, ""]  # standard deviation of one channel of a new view of any camera (`misfit`)
    depths: Float[Array, "F H W"]  # expected camera z at the recorded views, metres


class Clip(NamedTuple):
    """Frames rendered along one path; of one view without the leading axis."""

    rgb: Float[Array, "*T H W 3"]
    eig: Float[Array, "*T H W"]  # nats
    depth: Float[Array, "*T H W"]  # expected camera z, metres; very large where there is sky


@functools.partial(jax.jit, static_argnames=("settings",))
def _compare(
    scene: Scene, batch: Batch, settings: RenderSettings, sh_degree: Int[Array, ""]
) -> tuple[Float[Array, "..."], Float[Array, "H W"]]:
    """Return a sample of the residuals of one recorded view, and its depth."""
    view = render_scene(scene, batch.view, settings, sh_degree)
    residual = jnp.where(batch.weight[..., None] > 0, as_float(batch.image) - view.rgb, jnp.nan)
    return residual.reshape(-1)[::_SAMPLE], expected_depth(view.depth, view.alpha)


@functools.partial(jax.jit, static_argnames=("settings",), donate_argnums=0)
def _observe(
    precision: eig.Precision,
    scene: Scene,
    batch: Batch,
    noise: Float[Array, ""],
    repeats: Float[Array, ""],
    settings: RenderSettings,
    sh_degree: Int[Array, ""],
) -> eig.Precision:
    """Add one recorded view to the precision, which is donated: its new value takes its place in memory."""
    view = render_scene(scene, batch.view, settings, sh_degree)
    gaussians, alive, axes = compose(scene, batch.view.time)
    return eig.accumulate(
        precision,
        gaussians,
        alive,
        refined_camera(scene.params, batch.view),
        view.linear,
        settings,
        noise=noise,
        alpha=view.alpha,
        weight=batch.weight * trust(as_float(batch.image) - view.rgb, batch.weight, noise, repeats),
        sh_degree=sh_degree,
        axes=axes,
    )


def observe(scene: Scene, feed: Feed, settings: RenderSettings, sh_degree: int, misfit: float) -> Evidence:
    """Return what the recorded views of `feed` say about a scene; pseudo-views never count as seen.

    Every camera's views count by that camera's own noise, and what the scene misses in them counts once (`misfit`).

    Args:
        scene: the scene.
        feed: recorded frames.
        settings: renderer settings.
        sh_degree: highest band rendered.
        misfit: see `eig.Priors`.
    """
    batches, degree = range(len(feed.frames)), jnp.int32(sh_degree)
    residuals, depths = zip(*(_compare(scene, feed.batch(i), settings, degree) for i in batches), strict=True)
    cameras = [frame.camera for frame in feed.frames]
    noise = noise_by_camera(residuals, cameras)
    precision = eig.init_precision(scene.params.gaussians)
    repeats = jnp.float32(min(misfit, len(feed.frames)))
    for index, camera in enumerate(cameras):
        own = noise[camera]
        precision = _observe(precision, scene, feed.batch(index), own, repeats, settings, degree)
    return Evidence(precision, noise_of_new_views(jnp.stack(residuals)), jnp.stack(depths))


def noise_by_camera(residuals: Sequence[Float[Array, "S"]], cameras: Sequence[str]) -> dict[str, Float[Array, ""]]:
    """Return the noise of every camera from the residuals of its frames.

    Args:
        residuals: of every frame: image - render.
        cameras: which camera took it.
    """
    frames = {name: [r for r, camera in zip(residuals, cameras, strict=True) if camera == name] for name in cameras}
    return {name: eig.noise_from_residuals(jnp.stack(rows)) for name, rows in frames.items()}


def learn(scene: Scene, feed: Feed, settings: RenderSettings, sh_degree: int, priors: eig.Priors) -> Knowledge:
    """Return the posterior that the recorded views of `feed` leave."""
    precision, noise, depths = observe(scene, feed, settings, sh_degree, priors.misfit)
    return Knowledge(_posterior(precision, scene, priors), noise, depths)


@functools.partial(jax.jit, static_argnames=("priors",))
def _posterior(precision: eig.Precision, scene: Scene, priors: eig.Priors) -> eig.Posterior:
    return eig.posterior(precision, priors, scene.params.gaussians)


def look(
    scene: Scene,
    known: Knowledge,
    view: View,
    settings: RenderSettings,
    sh_degree: Int[Array, ""],
    mode: str = "exact",
) -> Clip:
    """Render one view of a scene with its EIG map and depth."""
    return _look(scene, known.posterior, known.noise, view, settings, sh_degree, mode)


@functools.partial(jax.jit, static_argnames=("settings", "mode"))
def _look(
    scene: Scene,
    posterior: eig.Posterior,
    noise: Float[Array, ""],
    view: View,
    settings: RenderSettings,
    sh_degree: Int[Array, ""],
    mode: str,
) -> Clip:
    seen = render_scene(scene, view, settings, sh_degree)
    gaussians, alive, axes = compose(scene, view.time)
    gain = eig.eig_map(
        gaussians,
        alive,
        posterior,
        refined_camera(scene.params, view),
        seen.linear,
        seen.alpha,
        settings,
        noise=noise,
        mode=mode,
        sh_degree=sh_degree,
        axes=axes,
    )
    return Clip(seen.rgb, gain, expected_depth(seen.depth, seen.alpha))
