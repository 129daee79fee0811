"""Scores of whole views, and a greedy choice of the next views.

With H the Fisher information of a view (sum of J^T J / noise^2 over its pixels) and Sigma the posterior covariance,
its joint EIG is log det(I + Sigma^(1/2) H Sigma^(1/2)) / 2 (Lindley 1956, doi 10.1214/aoms/1177728069).

    pixel_eig      the sum of the EIG of the pixels: an upper bound that counts shared information several times, and a
                   measure of how badly the pixels of the view are predicted
    block_eig      one determinant per block: exact if Gaussians were independent, else an upper bound (Fischer's
                   inequality: dropping the off-diagonal blocks of a positive matrix does not lower its determinant)
    joint_eig      the whole matrix, by stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017, doi
                   10.1137/16M1104974) with products through the rasterizer, forward and backward
    remaining_eig  the sum of the EIG of the pixels of target views, after the view was observed: the smaller, the
                   more the view helps to predict them (after Bickford Smith et al. 2023, arXiv 2304.08151)

The EIG of a set of views is submodular, so greedy choice reaches 1 - 1/e of the best possible set (Nemhauser, Wolsey
and Fisher 1978, doi 10.1007/BF01588971).
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Float, Key

from ff_jax.eig.background import look_up
from ff_jax.eig.config import Priors
from ff_jax.eig.information import Precision, accumulate, init_precision
from ff_jax.eig.maps import eig_map
from ff_jax.eig.posterior import Posterior
from ff_jax.eig.posterior import posterior as make_posterior
from ff_jax.eig.scene_posterior import posterior_of
from ff_jax.eig.stochastic import differentiable
from ff_jax.render.renderer import RenderInput, render
from ff_jax.runtime.progress import progress
from ff_jax.scene import SceneModel, View, render_scene
from kernels import unpack_symmetric

_CHANNELS = 3


class ViewSelection(NamedTuple):
    """Views in the order in which they were selected."""

    order: tuple[int, ...]  # indices into the candidates
    scores: tuple[float, ...]  # nats that each adds to those before it
    precision: Precision  # with all of them


def block_eig(view: Precision, posterior: Posterior) -> Float[Array, ""]:
    """Compute the joint EIG (nats) of a view, block by block.

    Args:
        view: information of the view alone, from `eig.accumulate` on zeros.
        posterior: before the view.
    """
    background = jnp.sum(jnp.log1p(view.background * posterior.background**2))
    return jnp.sum(gaussian_eig(view, posterior)) + 0.5 * _CHANNELS * background


def gaussian_eig(view: Precision, posterior: Posterior) -> Float[Array, "N"]:
    """Compute the EIG (nats) of a view about each Gaussian alone: the terms of `block_eig`; arguments likewise."""
    geometry = _log_det(view.geometry, posterior.geometry)
    return 0.5 * (geometry + _CHANNELS * _log_det(view.color, posterior.color))


_compiled_block_eig = jax.jit(block_eig)


def _log_det(packed: Float[Array, "N packed"], factor: Float[Array, "N d d"]) -> Float[Array, "N"]:
    """Compute log det(I + F^T H F) of every block; eigenvalues within the rounding of float32 are 0.

    In directions that a view leaves open, rounding gives eigenvalues of about 1e-7 of the largest one, which may be
    billions in units of the prior: they would count as several nats each.
    """
    H = unpack_symmetric(packed, factor.shape[-1])
    inner = jnp.einsum("nki,nkl,nlj->nij", factor, H, factor, precision="highest")
    values = jnp.linalg.eigvalsh(0.5 * (inner + jnp.swapaxes(inner, 1, 2)))
    rounding = float(jnp.finfo(jnp.float32).eps) * factor.shape[-1] * jnp.max(jnp.abs(values), -1, keepdims=True)
    return jnp.sum(jnp.log1p(jnp.where(values > rounding, values, 0.0)), -1)


def joint_eig(
    key: Key[Array, ""],
    posterior: Posterior,
    inputs: RenderInput,
    background: Float[Array, "H W 3"],
    *,
    noise: Float[ArrayLike, ""],
    num_samples: int = 8,
    steps: int = 40,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Estimate the joint EIG (nats) of a view, correlations between Gaussians included, and its standard error.

    The posterior is block diagonal, but the information of the view is not cut into blocks. Each sample costs `steps`
    passes forward and backward.

    Args:
        key: random key of the samples.
        posterior: before the view.
        inputs: Gaussians at the time of the view, its camera, and the settings of the render.
        background: visible where opacity is missing.
        noise: standard deviation of one observed channel.
        num_samples: random vectors; their spread gives the standard error.
        steps: of the Lanczos iteration.
    """
    camera = inputs.camera
    render_at, (*point, _) = differentiable(inputs, background)

    def image_of(delta: Float[Array, "N 10"], sh: Float[Array, "N K 3"]) -> Float[Array, "H W 3"]:
        return render_at(delta, sh, background)

    _, vjp = jax.vjp(image_of, *point)
    alpha = render(inputs.replace(sh_degree=0)).alpha
    of_background = ((1 - alpha) * look_up(posterior.background, camera) / noise) ** 2

    def product(y: Float[Array, "D"]) -> Float[Array, "D"]:
        """Compute (I + J Sigma J^T / noise^2) y, over all channels of all pixels."""
        image = y.reshape(camera.height, camera.width, _CHANNELS)
        geometry, sh = vjp(image)
        geometry = _covariance_product(posterior.geometry, geometry[..., None])[..., 0]
        _, change = jax.jvp(image_of, tuple(point), (geometry, _covariance_product(posterior.color, sh)))
        return (image + change / noise**2 + of_background[..., None] * image).reshape(-1)

    size = camera.height * camera.width * _CHANNELS
    samples = 0.5 * log_det_samples(key, product, size, num_samples, min(steps, size))
    return jnp.mean(samples), jnp.std(samples, ddof=1) / jnp.sqrt(num_samples)


def _covariance_product(factor: Float[Array, "N d d"], x: Float[Array, "N d c"]) -> Float[Array, "N d c"]:
    """Compute F F^T x."""
    inner = jnp.einsum("nki,nkc->nic", factor, x, precision="highest")
    return jnp.einsum("nij,njc->nic", factor, inner, precision="highest")


def log_det_samples(
    key: Key[Array, ""],
    product: Callable[[Float[Array, "D"]], Float[Array, "D"]],
    size: int,
    num_samples: int,
    steps: int,
) -> Float[Array, "num_samples"]:
    """Draw independent estimates of log det of a symmetric matrix >= I, given its product with a vector."""

    def sample(key: Key[Array, ""]) -> Float[Array, ""]:
        z = jax.random.rademacher(key, (size,), jnp.float32)
        diagonal, off_diagonal = lanczos(product, z / jnp.sqrt(size), steps)
        T = jnp.diag(diagonal) + jnp.diag(off_diagonal[:-1], 1) + jnp.diag(off_diagonal[:-1], -1)
        values, vectors = jnp.linalg.eigh(T)
        return size * jnp.sum(vectors[0] ** 2 * jnp.log(jnp.maximum(values, 1.0)))

    return jax.lax.map(sample, jax.random.split(key, num_samples))


def lanczos(
    product: Callable[[Float[Array, "D"]], Float[Array, "D"]], start: Float[Array, "D"], steps: int
) -> tuple[Float[Array, "steps"], Float[Array, "steps"]]:
    """Compute diagonal and off-diagonal of the Lanczos tridiagonal matrix (unit `start`, orthogonalized twice).

    If the Krylov space ends early, the rest of the off-diagonal is 0.
    """

    product_of = functools.partial(jnp.matmul, precision="highest")

    def step(k: Array, carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        basis, q, diagonal, off_diagonal = carry
        basis = basis.at[k].set(q)
        w = product(q)
        diagonal = diagonal.at[k].set(jnp.dot(q, w, precision="highest"))
        scale = jnp.linalg.norm(w)
        for _ in range(2):
            w = w - product_of(basis.T, product_of(basis, w))
        length = jnp.linalg.norm(w)
        ended = length <= 1e-5 * scale
        return basis, jnp.where(ended, 0.0, w / length), diagonal, off_diagonal.at[k].set(jnp.where(ended, 0.0, length))

    zero = jnp.zeros(steps)
    carry = jnp.zeros((steps, start.shape[0])), start, zero, zero
    _, _, diagonal, off_diagonal = jax.lax.fori_loop(0, steps, step, carry)
    return diagonal, off_diagonal


@jax.jit
def view_information(model: SceneModel, view: View, noise: Float[ArrayLike, ""]) -> Precision:
    """Compute the Fisher information of one view alone; its image is not needed."""
    out, inputs = render_scene(model, view), model.render_input(view)
    return accumulate(init_precision(inputs.world.gaussians), inputs, out.linear, noise=noise, alpha=out.alpha)


@jax.jit
def pixel_eig(model: SceneModel, posterior: Posterior, view: View, noise: Float[ArrayLike, ""]) -> Float[Array, ""]:
    """Sum the EIG (nats) of all pixels of a view, given the posterior before it."""
    out = render_scene(model, view)
    return jnp.sum(eig_map(posterior, model.render_input(view), out.linear, out.alpha, noise=noise))


@functools.partial(jax.jit, static_argnames=("priors",))
def remaining_eig(
    model: SceneModel, precision: Precision, views: View, noise: Float[ArrayLike, ""], priors: Priors
) -> Float[Array, ""]:
    """Sum `pixel_eig` (nats) over views, which are stacked along the first axis."""
    posterior = make_posterior(precision, priors, model.scene.params.gaussians)
    return jnp.sum(jax.lax.map(lambda view: pixel_eig(model, posterior, view, noise), views))


SCORES = ("blocks", "pixels", "targets")


def select_views(
    model: SceneModel,
    precision: Precision,
    candidates: Sequence[View],
    count: int,
    *,
    noise: Float[ArrayLike, ""],
    priors: Priors,
    score: str = "blocks",
    targets: Sequence[View] = (),
) -> ViewSelection:
    """Select views one by one, each with the largest score given those before it.

    Each round costs one pass per remaining candidate, with "targets" one posterior and one map per target as well.
    The information of the selected view is added to the precision.

    Args:
        model: the scene so far.
        precision: of the views so far.
        candidates: views to select from; their images are not needed.
        count: number of views to select.
        noise: standard deviation of one observed channel.
        priors: before any view was observed.
        score: "blocks" for `block_eig`, "pixels" for `pixel_eig`, "targets" for the decrease of `remaining_eig`.
        targets: views that are to be predicted, of one size, for the score "targets".

    Raises:
        ValueError: there are fewer candidates, the score does not exist, or it needs targets and has none.
    """
    if score not in SCORES:
        raise ValueError(f"{score=} is unknown: use one of {SCORES}.")
    if not 0 <= count <= len(candidates):
        raise ValueError(f"cannot select {count} of {len(candidates)} views.")
    if score == "targets" and not targets:
        raise ValueError("score='targets' needs the views to be predicted: pass `targets`.")
    stacked = jax.tree.map(lambda *views: jnp.stack(views), *targets) if targets else None

    def information(i: int) -> Precision:
        return view_information(model, candidates[i], noise)

    def remaining(precision: Precision) -> float:
        return float(remaining_eig(model, precision, stacked, noise, priors))

    def score_of(i: int, posterior: Posterior, precision: Precision) -> float:
        if score == "targets":
            return -remaining(jax.tree.map(jnp.add, precision, information(i)))
        if score == "pixels":
            return float(pixel_eig(model, posterior, candidates[i], noise))
        return float(_compiled_block_eig(information(i), posterior))

    unselected, order, scores = list(range(len(candidates))), [], []
    for _ in progress(count, "selecting views"):
        posterior = posterior_of(precision, model, priors)
        values = [score_of(i, posterior, precision) for i in unselected]
        best = max(range(len(unselected)), key=values.__getitem__)
        order.append(unselected.pop(best))
        scores.append(values[best] + (remaining(precision) if score == "targets" else 0.0))
        precision = jax.tree.map(jnp.add, precision, information(order[-1]))
    return ViewSelection(tuple(order), tuple(scores), precision)
