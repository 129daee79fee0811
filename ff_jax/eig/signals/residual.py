"""The residuals of the recorded views, regressed on the Gaussians and the viewing direction.

In the manner of GS-U ("Predictive Photometric Uncertainty in Gaussian Splatting", 2026): the error of a pixel,

    e = (1 - 0.2) mean |image - render| + 0.2 (1 - SSIM) / 2,

is modeled as sum_i w_i Y(d_i)^T b_i, with the blending weights w_i of the render and spherical harmonics Y of bands 0
and 1 in the viewing direction; the background has one coefficient per cell of `eig.background`. The coefficients solve
the regularized least-squares problem over all pixels of the recorded views, and the sum over the Gaussians of a new
view predicts its error.

The source states no prior. Here the prior mean is the mean error, so that what no view shows is predicted to be as
wrong as the average pixel, and the prior deviation of the constant coefficient is the mean error, too.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jaxtyping import Float

from ff_jax.eig import background
from ff_jax.render.renderer import RenderInput, bin_gaussians, project_gaussians
from ff_jax.scene import SceneModel, View, render_scene
from ff_jax.train.batch import Batch, as_float
from ff_jax.train.batches import TrainBatches
from kernels import rasterize, sh_basis, ssim, view_directions

_DSSIM = 0.2  # share of the structural term in the error of a pixel
_BASIS = 4  # spherical harmonics per Gaussian: bands 0 and 1
_CONSTANT = float(np.sqrt(4 * np.pi))  # coefficient of band 0 for the value 1
_BAND_STD = np.array([_CONSTANT, *[np.sqrt(4 * np.pi / 3) / 3] * 3], np.float32)  # in units of the mean error
_STEPS = 12  # of conjugate gradients


class Coefficients(struct.PyTreeNode):
    """Coefficients of the predicted error."""

    gaussians: Float[Array, "N 4"]
    background: Float[Array, "cells"]


class _Problem(NamedTuple):
    """The scales of the least-squares problem."""

    mean: Float[Array, ""]  # of the errors of all pixels
    variance: Float[Array, ""]  # of the errors of all pixels


@jax.jit
def predicted_residual(model: SceneModel, coefficients: Coefficients, view: View) -> Float[Array, "H W"]:
    """Predict the error of every pixel of a view."""
    return _predict(model, coefficients, view)


def regress(model: SceneModel, batches: TrainBatches) -> Coefficients:
    """Regress the errors of the recorded views on the Gaussians by conjugate gradients on the normal equations."""
    recorded = range(len(batches))
    sums = functools.reduce(jnp.add, (_error_sums(model, batches.batch(i)) for i in recorded))
    count = jnp.maximum(sums[2], 1.0)
    mean = jnp.maximum(sums[0] / count, 1e-6)
    problem = _Problem(mean, jnp.maximum(sums[1] / count - mean**2, 1e-12))
    capacity = model.scene.params.gaussians.capacity
    # Unknowns are in units of the prior's standard deviations, around the prior's mean.
    zero = Coefficients(jnp.zeros((capacity, _BASIS)), jnp.zeros(background.CELLS))
    start = functools.reduce(_add, (_gradient(model, zero, problem, batches.batch(i)) for i in recorded))

    def product(x: Coefficients) -> Coefficients:
        return functools.reduce(_add, (_information_product(model, x, problem, batches.batch(i)) for i in recorded), x)

    return _unscaled(conjugate_gradients(product, start, _STEPS), problem)


def conjugate_gradients(
    product: Callable[[Coefficients], Coefficients], right: Coefficients, steps: int
) -> Coefficients:
    """Solve product(x) = right for a symmetric positive definite `product`, starting at 0 (Hestenes and Stiefel 1952).

    Args:
        product: the matrix times a vector.
        right: right-hand side.
        steps: number of iterations.
    """
    x, residual, direction = jax.tree.map(jnp.zeros_like, right), right, right
    square = _dot(residual, residual)
    for _ in range(steps):
        image = product(direction)
        step = square / jnp.maximum(_dot(direction, image), 1e-30)
        x = jax.tree.map(lambda a, b, s=step: a + s * b, x, direction)
        residual = jax.tree.map(lambda a, b, s=step: a - s * b, residual, image)
        previous, square = square, _dot(residual, residual)
        ratio = square / jnp.maximum(previous, 1e-30)
        direction = jax.tree.map(lambda a, b, s=ratio: a + s * b, residual, direction)
    return x


def pixel_error(
    image: Float[Array, "H W 3"], render: Float[Array, "H W 3"], share: float = _DSSIM
) -> Float[Array, "H W"]:
    """Mix the absolute error of every pixel with its structural dissimilarity (1 - SSIM) / 2."""
    absolute = jnp.mean(jnp.abs(image - render), -1)
    return (1 - share) * absolute + share * 0.5 * (1 - ssim(image, render))


def _unscaled(x: Coefficients, problem: _Problem) -> Coefficients:
    """Convert unknowns to coefficients."""
    gaussians = problem.mean * (x.gaussians * _BAND_STD).at[:, 0].add(_CONSTANT)
    return Coefficients(gaussians, problem.mean * (1 + x.background))


def _predict(model: SceneModel, coefficients: Coefficients, view: View) -> Float[Array, "H W"]:
    """Blend the coefficients; linear in them."""
    inputs: RenderInput = model.render_input(view)
    gaussians, _, axes = inputs.world
    directions = view_directions(gaussians.means, inputs.camera.camera_from_world)
    if axes is not None:
        directions = jnp.einsum("nij,ni->nj", axes, directions, precision="highest")
    values = jnp.sum(sh_basis(directions, _BASIS) * coefficients.gaussians, -1, keepdims=True)
    splats = project_gaussians(inputs.replace(sh_degree=0))
    bins = bin_gaussians(splats, inputs.camera, inputs.settings)
    out, alpha = rasterize(splats, values, bins, implementation=inputs.settings.implementation)
    return out[..., 0] + (1 - alpha) * background.look_up(coefficients.background, inputs.camera)


def _error(model: SceneModel, batch: Batch) -> Float[Array, "H W"]:
    return pixel_error(as_float(batch.image), jnp.clip(render_scene(model, batch.view).rgb, 0.0, 1.0))


@jax.jit
def _error_sums(model: SceneModel, batch: Batch) -> Float[Array, "3"]:
    """Sum the errors of a view, their squares, and the pixels that count."""
    error, used = _error(model, batch), (batch.weight > 0).astype(jnp.float32)
    return jnp.stack([jnp.sum(used * error), jnp.sum(used * error**2), jnp.sum(used)])


@jax.jit
def _gradient(model: SceneModel, zero: Coefficients, problem: _Problem, batch: Batch) -> Coefficients:
    """Compute A^T (e - A mean) / variance of one view."""
    predict, transpose = _scaled_operator(model, zero, problem, batch)
    return transpose(_error(model, batch) - predict)


@jax.jit
def _information_product(model: SceneModel, x: Coefficients, problem: _Problem, batch: Batch) -> Coefficients:
    """Compute A^T A x / variance of one view."""
    zero = jax.tree.map(jnp.zeros_like, x)
    at_mean, transpose = _scaled_operator(model, zero, problem, batch)
    return transpose(_predict(model, _unscaled(x, problem), batch.view) - at_mean)


def _scaled_operator(
    model: SceneModel, zero: Coefficients, problem: _Problem, batch: Batch
) -> tuple[Float[Array, "H W"], Callable[[Float[Array, "H W"]], Coefficients]]:
    """Return the prediction at the prior's mean, and the transpose of the prediction, over the pixels that count."""
    at_mean, vjp = jax.vjp(lambda x: _predict(model, _unscaled(x, problem), batch.view), zero)
    used = (batch.weight > 0) / problem.variance
    return at_mean, lambda image: vjp(used * image)[0]


@jax.jit
def _dot(a: Coefficients, b: Coefficients) -> Float[Array, ""]:
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b)), start=jnp.zeros(()))


def _add(a: Coefficients, b: Coefficients) -> Coefficients:
    return jax.tree.map(jnp.add, a, b)
