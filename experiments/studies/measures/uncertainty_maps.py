"""Answers, per pixel, to "how wrong may this render be?": seven that the calibration study compares, two ablations.

exact_block   EIG of `ff_jax.eig`, nats; what the program uses
exact_diag    the same with a diagonal posterior
trace         its upper bound
paper_code    the map of FaithFusion's released code (`paper_code`)
opacity       1 - accumulated opacity
color_only    in the manner of FisherRF (arXiv 2311.17874): the Fisher information of the colours alone, one
              number per Gaussian, its inverse blended
distance      metres from what the pixel shows to the nearest training camera
flat_backdrop exact_block as if no view had told anything about the background
even_noise    exact_block as if all training pixels were equally noisy (`misfit` off)
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from jaxtyping import Float, Int

from ff_jax import eig
from ff_jax.eig import released_formula
from ff_jax.eig.scene_posterior import observe
from ff_jax.fixers.reprojection import expected_depth
from ff_jax.render.camera import Camera
from ff_jax.render.renderer import RenderSettings, bin_gaussians, project_gaussians, ray_directions
from ff_jax.runtime.run_log import progress
from ff_jax.scene import Scene, compose, refined_camera, render_scene
from ff_jax.scene.scene import SceneView, View
from ff_jax.train.batches import Feed
from ff_jax.train.step import Batch
from kernels.fisher.information_gain import unpack
from kernels.rasterize import rasterize

METHODS = (
    "exact_block",
    "exact_diag",
    "trace",
    "paper_code",
    "opacity",
    "color_only",
    "distance",
    "flat_backdrop",
    "even_noise",
)
_COLOR_PRIOR = 1e-6  # FisherRF's regularizer


@struct.dataclass
class Learnt:
    """What the recorded views left behind for every method."""

    block: eig.Posterior
    diag: eig.Posterior
    flat: eig.Posterior  # `block` with the prior's background
    even: eig.Posterior  # `block` with the same noise in all pixels
    color: Float[Array, "N"]  # trace of the Fisher information of the colours
    paper: Float[Array, "N"]  # `paper_code.train_information`, all views
    centres: Float[Array, "F 3"]  # of the training cameras, metres
    noise: Float[Array, ""]  # standard deviation of one channel of a new view


class Maps(NamedTuple):
    """One view, judged by every method."""

    rgb: Float[Array, "H W 3"]
    scores: dict[str, Float[Array, "H W"]]  # by METHODS: higher is less known
    std: dict[str, Float[Array, "H W"]]  # "block", "diag": predicted standard deviation of a channel, noise included


def learn_scores(scene: Scene, feed: Feed, settings: RenderSettings, sh_degree: int, priors: eig.Priors) -> Learnt:
    """Return what every method keeps of the recorded views of `feed`."""
    evidence = observe(scene, feed, settings, sh_degree, priors.misfit)
    even = observe(scene, feed, settings, sh_degree, 0.0)
    believe = functools.partial(jax.jit(eig.posterior, static_argnames=("priors", "structure")), priors=priors)
    gaussians, coefficients = scene.params.gaussians, scene.params.gaussians.sh.shape[1]
    block = believe(evidence.precision, gaussians=gaussians)
    diagonal = jnp.diagonal(unpack(evidence.precision.color, coefficients), axis1=-2, axis2=-1)
    paper, centres = jnp.zeros(gaussians.capacity), []
    for index in progress(len(feed.frames), "released formula"):
        batch = feed.batch(index)
        paper = paper + _paper_information(scene, batch, settings)
        centres.append(batch.view.camera.world_from_camera[:3, 3])
    return Learnt(
        block=block,
        diag=believe(evidence.precision, gaussians=gaussians, structure="diag"),
        flat=block.replace(background=jnp.full_like(block.background, priors.background)),
        even=believe(even.precision, gaussians=gaussians),
        color=3 * jnp.sum(diagonal, -1),
        paper=paper,
        centres=jnp.stack(centres),
        noise=evidence.noise,
    )


@functools.partial(jax.jit, static_argnames=("settings",))
def _paper_information(scene: Scene, batch: Batch, settings: RenderSettings) -> Float[Array, "N"]:
    sky = jnp.where(batch.sky_known, batch.sky, False).astype(jnp.float32)
    camera = refined_camera(scene.params, batch.view)
    gaussians, alive, _ = compose(scene, batch.view.time)
    return released_formula.train_information(gaussians, alive, camera, sky, settings)


def score_maps(scene: Scene, learnt: Learnt, view: View, settings: RenderSettings, sh_degree: Int[Array, ""]) -> Maps:
    """Render one view and judge it by every method."""
    seen, others = _others(scene, learnt.color, learnt.paper, learnt.centres, view, settings, sh_degree)
    gain = lambda posterior, mode: _gain(scene, posterior, learnt.noise, view, seen, settings, sh_degree, mode)
    trace, trace_diag = gain(learnt.block, "trace"), gain(learnt.diag, "trace")
    scores = others | {
        "exact_block": gain(learnt.block, "exact"),
        "exact_diag": gain(learnt.diag, "exact"),
        "trace": trace,
        "flat_backdrop": gain(learnt.flat, "exact"),
        "even_noise": gain(learnt.even, "exact"),
    }
    # trace = sum over the channels of their variance / (2 noise^2)
    std = {name: learnt.noise * jnp.sqrt(1 + 2 / 3 * t) for name, t in (("block", trace), ("diag", trace_diag))}
    return Maps(seen.rgb, {name: scores[name] for name in METHODS}, std)


@functools.partial(jax.jit, static_argnames=("settings", "mode"))
def _gain(
    scene: Scene,
    posterior: eig.Posterior,
    noise: Float[Array, ""],
    view: View,
    seen: SceneView,
    settings: RenderSettings,
    sh_degree: Int[Array, ""],
    mode: str,
) -> Float[Array, "H W"]:
    """Return the map of one posterior: one program for all of them."""
    (gaussians, alive, axes), camera = compose(scene, view.time), refined_camera(scene.params, view)
    view_of = gaussians, alive, posterior, camera, seen.linear, seen.alpha, settings
    return eig.eig_map(*view_of, noise=noise, mode=mode, sh_degree=sh_degree, axes=axes)


@functools.partial(jax.jit, static_argnames=("settings",))
def _others(
    scene: Scene,
    color: Float[Array, "N"],
    paper: Float[Array, "N"],
    centres: Float[Array, "F 3"],
    view: View,
    settings: RenderSettings,
    sh_degree: Int[Array, ""],
) -> tuple[SceneView, dict[str, Float[Array, "H W"]]]:
    """Return the rendered view, and the scores that need no posterior (fields of `Learnt`)."""
    seen = render_scene(scene, view, settings, sh_degree)
    (gaussians, alive, _), camera = compose(scene, view.time), refined_camera(scene.params, view)
    return seen, {
        "paper_code": released_formula.gain_map(paper, gaussians, alive, camera, settings),
        "opacity": 1 - seen.alpha,
        "color_only": _blended(1 / (color + _COLOR_PRIOR), scene, view, settings),
        "distance": nearest_camera(seen, camera, centres),
    }


def nearest_camera(seen: SceneView, camera: Camera, centres: Float[Array, "F 3"]) -> Float[Array, "H W"]:
    """Return the distance, metres, from what every pixel shows to the nearest of the camera centres."""
    rays = ray_directions(camera)
    along = jnp.matmul(rays, camera.camera_from_world[2, :3], precision="highest")  # camera z of one metre of ray
    depth = expected_depth(seen.depth, seen.alpha)
    points = camera.world_from_camera[:3, 3] + rays * (depth / along)[..., None]
    distances = [jnp.linalg.norm(points - centre, axis=-1) for centre in centres]
    return functools.reduce(jnp.minimum, distances)


def _blended(values: Float[Array, "N"], scene: Scene, view: View, settings: RenderSettings) -> Float[Array, "H W"]:
    """Blend one number per Gaussian into an image."""
    camera = refined_camera(scene.params, view)
    gaussians, alive, _ = compose(scene, view.time)
    splats = project_gaussians(gaussians, alive, camera, settings, 0)
    out, _ = rasterize(
        splats.mean2d,
        splats.conic,
        splats.opacity,
        values[:, None],
        bin_gaussians(splats, camera, settings),
        width=camera.width,
        height=camera.height,
        tile=settings.tile_size,
        implementation=settings.implementation,
    )
    return out[..., 0]
