"""EIG and deviations calibrated by the residuals of the recorded views.

The Fisher information counts every pixel as an independent measurement, but neighboring pixels have similar residuals.
How many of them share one residual, as far as a block of parameters is concerned, is seen in the gradient of a view:

    correlated pixels = sum |F^T J^T (w r)|^2 / mean over signs of sum |F^T J^T (sign w r)|^2

with the weighted residuals w r, the posterior covariance F F^T, and a random sign per pixel, which makes pixels
independent. The sums are over all Gaussians and recorded views: the sandwich estimator with one cluster per view (Liang
and Zeger 1986, doi 10.1093/biomet/73.1.13). The information about geometry and that about color are divided by
theirs. That about the background is not: it counts a cell of a view once.

A new view also has errors that no parameter explains. Their variance m^2 is the mean squared residual of the recorded
views, averaged by blending weight for every Gaussian and every direction of the background, and blended like a color:

    EIG = log det(I + (J Sigma J^T + m^2 I) / noise^2) / 2
        = 3 log(1 + m^2 / noise^2) / 2 + log det(I + J Sigma J^T / (noise^2 + m^2)) / 2
    deviation^2 = m^2 + tr(J Sigma J^T) / 3.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jaxtyping import Float, Key

from ff_jax.eig import background
from ff_jax.eig.config import Priors
from ff_jax.eig.maps import eig_map
from ff_jax.eig.posterior import Posterior
from ff_jax.eig.residual_noise import information_weight
from ff_jax.eig.scene_posterior import ScenePosterior, posterior_of, scene_information
from ff_jax.eig.signals.residual import Coefficients, predicted_residual
from ff_jax.eig.stochastic import differentiable
from ff_jax.scene import SceneModel, View, render_scene
from ff_jax.train.batch import Batch, as_float
from ff_jax.train.batches import TrainBatches

_CONSTANT = float(np.sqrt(4 * np.pi))  # coefficient of the constant function for the value 1
_NUM_SIGNS = 2  # random signs per recorded view


class CorrelatedPixels(NamedTuple):
    """The number of pixels that share one residual, at least 1."""

    geometry: Float[Array, ""]
    color: Float[Array, ""]


class Calibration(struct.PyTreeNode):
    """What calibrated maps need from the recorded views."""

    posterior: Posterior
    noise: Float[Array, ""]  # as in `ScenePosterior`
    variance: Coefficients  # mean squared residual, by Gaussian and by direction of the background
    correlated: CorrelatedPixels


def calibrate(model: SceneModel, batches: TrainBatches, priors: Priors, posterior: ScenePosterior) -> Calibration:
    """Measure the residuals of the recorded views, and correct the posterior that counts their pixels as independent.

    Args:
        model: the scene.
        batches: recorded frames.
        priors: before any view was observed.
        posterior: from these three.
    """
    information = scene_information(model, batches, priors.misfit)
    shared_views = jnp.float32(min(priors.misfit, len(batches)))
    # One pixel with the mean squared residual of all stands for what no view shows.
    one = jax.tree.map(jnp.ones_like, _no_residuals(model))
    sums = jnp.zeros((2, 2)), jax.tree.map(lambda x: jnp.square(posterior.noise) * x, one), one
    for index, noise in enumerate(information.frame_noise):
        batch, key = batches.batch(index), jax.random.key(index)
        energies = score_energies(model, batch, posterior.posterior, noise, shared_views, key)
        sums = jax.tree.map(jnp.add, sums, (energies, *_squared_residuals(model, batch)))
    energies, squared, weight = sums
    correlated, variance = _correlated(energies), jax.tree.map(jnp.divide, squared, weight)
    precision = information.precision.replace(
        geometry=information.precision.geometry / correlated.geometry,
        color=information.precision.color / correlated.color,
    )
    return Calibration(posterior_of(precision, model, priors), posterior.noise, _scaled(variance), correlated)


def _correlated(energies: Float[Array, "2 2"]) -> CorrelatedPixels:
    measured, independent = energies
    return CorrelatedPixels(*jnp.maximum(measured / jnp.maximum(independent, 1e-30), 1.0))


@jax.jit
def score_energies(
    model: SceneModel,
    batch: Batch,
    posterior: Posterior,
    noise: Float[Array, ""],
    correlated_views: Float[Array, ""],
    key: Key[Array, ""],
) -> Float[Array, "2 2"]:
    """Compute sum |F^T J^T u|^2 of the weighted residuals u of a view (row 0) and of u with random signs (row 1).

    Args:
        model: the scene.
        batch: the recorded view.
        posterior: its factors F; column 0 of the result is of geometry, column 1 of color.
        noise: standard deviation of one channel of its camera.
        correlated_views: as in `residual_noise.information_weight`.
        key: random key of the signs.
    """
    out = render_scene(model, batch.view)
    residual = as_float(batch.image) - out.rgb
    weight = batch.weight * information_weight(residual, batch.weight, noise, correlated_views)
    u = jnp.where(weight[..., None] > 0, weight[..., None] * residual, 0.0)
    render_at, (*point, sky) = differentiable(model.render_input(batch.view), out.sky)
    _, vjp = jax.vjp(lambda delta, sh: render_at(delta, sh, sky), *point)

    def energy(u: Float[Array, "H W 3"]) -> Float[Array, "2"]:
        geometry, sh = vjp(u)
        geometry = jnp.einsum("nij,ni->nj", posterior.geometry, geometry, precision="highest")
        color = jnp.einsum("nij,nic->njc", posterior.color, sh, precision="highest")
        return jnp.stack([jnp.sum(geometry**2), jnp.sum(color**2)]) / noise**4

    signs = jax.random.rademacher(key, (_NUM_SIGNS, *weight.shape, 1), jnp.float32)
    return jnp.stack([energy(u), jnp.mean(jax.lax.map(lambda sign: energy(sign * u), signs), 0)])


@jax.jit
def _squared_residuals(model: SceneModel, batch: Batch) -> tuple[Coefficients, Coefficients]:
    """Sum the squared residuals of a view by blending weight, and the weights; only the constant coefficients."""
    _, vjp = jax.vjp(lambda x: predicted_residual(model, _scaled(x), batch.view), _no_residuals(model))
    used = (batch.weight > 0).astype(jnp.float32)
    squared = jnp.mean(jnp.square(as_float(batch.image) - render_scene(model, batch.view).rgb), -1)
    return vjp(jnp.where(used > 0, squared, 0.0))[0], vjp(used)[0]


def _no_residuals(model: SceneModel) -> Coefficients:
    return Coefficients(jnp.zeros((model.scene.params.gaussians.capacity, 4)), jnp.zeros(background.CELLS))


def _scaled(values: Coefficients) -> Coefficients:
    """Make coefficients that have the values of column 0 in every direction."""
    gaussians = jnp.zeros_like(values.gaussians).at[:, 0].set(_CONSTANT * values.gaussians[:, 0])
    return values.replace(gaussians=gaussians)


@jax.jit
def calibrated_eig(model: SceneModel, calibration: Calibration, view: View) -> Float[Array, "H W"]:
    """Compute the calibrated EIG (nats) of every pixel of a view."""
    out, unexplained = render_scene(model, view), _unexplained(model, calibration, view)
    noise = jnp.sqrt(jnp.square(calibration.noise) + unexplained)
    eig = eig_map(calibration.posterior, model.render_input(view), out.linear, out.alpha, noise=noise)
    return eig + 1.5 * jnp.log1p(unexplained / jnp.square(calibration.noise))


@jax.jit
def deviation(model: SceneModel, calibration: Calibration, view: View) -> Float[Array, "H W"]:
    """Predict the standard deviation of one channel of an image of a view around its render."""
    out = render_scene(model, view)
    trace = eig_map(calibration.posterior, model.render_input(view), out.linear, out.alpha, noise=1.0, mode="trace")
    return jnp.sqrt(_unexplained(model, calibration, view) + 2 / 3 * trace)


def _unexplained(model: SceneModel, calibration: Calibration, view: View) -> Float[Array, "H W"]:
    """Blend the variance of a channel that no parameter explains."""
    return jnp.maximum(predicted_residual(model, calibration.variance, view), 0.0)
