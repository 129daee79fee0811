"""Maps that predict the error of a render: seven that the calibration study compares, and two ablations.

exact_block       EIG of `ff_jax.eig`, nats
exact_diag        the same with a diagonal posterior
trace             its upper bound
released_formula  the map of FaithFusion's released code (`eig.released_formula`)
opacity           1 - accumulated opacity
color_only        as in FisherRF (arXiv 2311.17874): the Fisher information of the colors alone is one number per
                  Gaussian, and its inverse is blended
distance          meters from the surface that the pixel shows to the nearest training camera
prior_background  exact_block with the prior of the background, as if no view had observed it
uniform_noise     exact_block with the same noise at all training pixels (`Priors.misfit` = 0)
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from jaxtyping import Float

from ff_jax import eig
from ff_jax.eig.released_formula import released_map, train_information
from ff_jax.eig.scene_posterior import scene_information
from ff_jax.render.camera import Camera
from ff_jax.render.renderer import RenderInput, bin_gaussians, expected_depth, project_gaussians, ray_directions
from ff_jax.runtime.progress import progress
from ff_jax.scene import RenderedScene, SceneModel, View, render_scene
from ff_jax.train.batch import Batch
from ff_jax.train.batches import TrainBatches
from kernels import rasterize, unpack_symmetric

METHODS = (
    "exact_block",
    "exact_diag",
    "trace",
    "released_formula",
    "opacity",
    "color_only",
    "distance",
    "prior_background",
    "uniform_noise",
)
_COLOR_PRIOR = 1e-6  # FisherRF's regularizer


@struct.dataclass
class RecordedStatistics:
    """Statistics of the recorded views that the methods need."""

    block: eig.Posterior
    diag: eig.Posterior
    prior_background: eig.Posterior  # `block` with the prior of the background
    uniform_noise: eig.Posterior  # as `block`, with the same noise at all pixels
    color_information: Float[Array, "N"]  # trace of the Fisher information of the colors
    released_information: Float[Array, "N"]  # `released_formula.train_information`, all views
    centers: Float[Array, "F 3"]  # of the training cameras, meters
    noise: Float[Array, ""]  # standard deviation of one channel of a new view


class UncertaintyMaps(NamedTuple):
    """The maps of one view by all methods, and its render."""

    rgb: Float[Array, "H W 3"]
    scores: dict[str, Float[Array, "H W"]]  # by METHODS: higher is more uncertain
    std: dict[str, Float[Array, "H W"]]  # "block", "diag": predicted standard deviation of a channel, noise included


def collect_statistics(model: SceneModel, batches: TrainBatches, priors: eig.Priors) -> RecordedStatistics:
    """Collect the statistics of the recorded views."""
    information = scene_information(model, batches, priors.misfit)
    uniform = scene_information(model, batches, 0.0)
    make_posterior = functools.partial(jax.jit(eig.posterior, static_argnames=("priors", "structure")), priors=priors)
    gaussians = model.scene.params.gaussians
    block = make_posterior(information.precision, gaussians=gaussians)
    color = unpack_symmetric(information.precision.color, gaussians.sh.shape[1])
    released, centers = jnp.zeros(gaussians.capacity), []
    for index in progress(len(batches), "released formula"):
        batch = batches.batch(index)
        released = released + _released_information(model, batch)
        centers.append(batch.view.camera.world_from_camera[:3, 3])
    return RecordedStatistics(
        block=block,
        diag=make_posterior(information.precision, gaussians=gaussians, structure="diag"),
        prior_background=block.replace(background=jnp.full_like(block.background, priors.background)),
        uniform_noise=make_posterior(uniform.precision, gaussians=gaussians),
        color_information=3 * jnp.sum(jnp.diagonal(color, axis1=-2, axis2=-1), -1),
        released_information=released,
        centers=jnp.stack(centers),
        noise=information.noise,
    )


@jax.jit
def _released_information(model: SceneModel, batch: Batch) -> Float[Array, "N"]:
    sky = jnp.where(batch.sky_known, batch.sky, False).astype(jnp.float32)
    return train_information(model.render_input(batch.view), sky)


def uncertainty_maps(model: SceneModel, statistics: RecordedStatistics, view: View) -> UncertaintyMaps:
    """Render one view and compute its map by each method."""
    rendered, others = _other_maps(model, statistics, view)

    def make_map(posterior: eig.Posterior, mode: str) -> Float[Array, "H W"]:
        return _eig_map(model, posterior, statistics.noise, view, rendered, mode)

    trace, trace_diag = make_map(statistics.block, "trace"), make_map(statistics.diag, "trace")
    scores = others | {
        "exact_block": make_map(statistics.block, "exact"),
        "exact_diag": make_map(statistics.diag, "exact"),
        "trace": trace,
        "prior_background": make_map(statistics.prior_background, "exact"),
        "uniform_noise": make_map(statistics.uniform_noise, "exact"),
    }
    # trace = sum over the channels of their variance / (2 noise^2)
    std = {name: statistics.noise * jnp.sqrt(1 + 2 / 3 * t) for name, t in (("block", trace), ("diag", trace_diag))}
    return UncertaintyMaps(rendered.rgb, {name: scores[name] for name in METHODS}, std)


@functools.partial(jax.jit, static_argnames=("mode",))
def _eig_map(
    model: SceneModel,
    posterior: eig.Posterior,
    noise: Float[Array, ""],
    view: View,
    rendered: RenderedScene,
    mode: str,
) -> Float[Array, "H W"]:
    """Compute the EIG map of one posterior; all posteriors share one compiled program."""
    inputs = model.render_input(view)
    return eig.eig_map(posterior, inputs, rendered.linear, rendered.alpha, noise=noise, mode=mode)


@jax.jit
def _other_maps(
    model: SceneModel, statistics: RecordedStatistics, view: View
) -> tuple[RenderedScene, dict[str, Float[Array, "H W"]]]:
    """Render the view, and compute the maps that need no posterior."""
    rendered, inputs = render_scene(model, view), model.render_input(view)
    return rendered, {
        "released_formula": released_map(statistics.released_information, inputs),
        "opacity": 1 - rendered.alpha,
        "color_only": _blend(1 / (statistics.color_information + _COLOR_PRIOR), inputs),
        "distance": nearest_camera(rendered, inputs.camera, statistics.centers),
    }


def nearest_camera(rendered: RenderedScene, camera: Camera, centers: Float[Array, "F 3"]) -> Float[Array, "H W"]:
    """Compute the distance, meters, from the surface that each pixel shows to the nearest of some camera centers."""
    rays = ray_directions(camera)
    along = jnp.matmul(rays, camera.camera_from_world[2, :3], precision="highest")  # camera z of one meter of ray
    depth = expected_depth(rendered.depth, rendered.alpha)
    points = camera.world_from_camera[:3, 3] + rays * (depth / along)[..., None]
    distances = [jnp.linalg.norm(points - center, axis=-1) for center in centers]
    return functools.reduce(jnp.minimum, distances)


def _blend(values: Float[Array, "N"], inputs: RenderInput) -> Float[Array, "H W"]:
    """Blend one number per Gaussian into an image."""
    splats = project_gaussians(inputs.replace(sh_degree=0))
    bins = bin_gaussians(splats, inputs.camera, inputs.settings)
    out, _ = rasterize(splats, values[:, None], bins, implementation=inputs.settings.implementation)
    return out[..., 0]
