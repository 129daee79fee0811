"""How much a whole view would tell: scores for choosing the next views, and a greedy choice of several.

With H the Fisher information of a view (sum of J^T J / noise^2 over its pixels) and Sigma the posterior covariance,
its joint gain is log det(I + Sigma^(1/2) H Sigma^(1/2)) / 2 (Lindley 1956, doi 10.1214/aoms/1177728069).

    pixel_gain   the sum of the pixels' gains: larger, because it counts again what several pixels tell about the same
                 Gaussian, but an account of how badly the view's pixels are predicted, whatever number of Gaussians
                 they are made of
    block_gain   one determinant per block: exact if the Gaussians were seen apart, else an upper bound (Fischer's
                 inequality: dropping the off-diagonal blocks of a positive matrix does not lower its determinant)
    joint_gain   the whole matrix, by stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017, doi
                 10.1137/16M1104974) with products through the rasterizer, forward and backward
    left_open    the sum of the pixels' gains over views that are to be predicted, once the view is known: the smaller,
                 the more it tells about them (after the idea of Bickford Smith et al. 2023, arXiv 2304.08151: what a
                 model does not know matters where it is asked)

The gain of a set is submodular, so greedy choice reaches 1 - 1/e of the best possible set (Nemhauser, Wolsey and
Fisher 1978, doi 10.1007/BF01588971).
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Bool, Float, Int, Key

from ff_jax import eig
from ff_jax.eig import background as backdrop
from ff_jax.eig.stochastic import differentiable
from ff_jax.render.camera import Camera
from ff_jax.render.gaussians import Gaussians
from ff_jax.render.renderer import RenderSettings, render
from ff_jax.runtime.run_log import progress
from ff_jax.scene import Scene, compose, refined_camera, render_scene
from ff_jax.scene.scene import View
from kernels.fisher.information_gain import unpack

_CHANNELS = 3


class Choice(NamedTuple):
    """Views in the order in which they were chosen."""

    order: tuple[int, ...]  # indices into the candidates
    gains: tuple[float, ...]  # nats that each adds to those before it
    precision: eig.Precision  # with all of them


def block_gain(view: eig.Precision, posterior: eig.Posterior) -> Float[Array, ""]:
    """Return the joint gain (nats) of a view, block by block.

    Args:
        view: what the view alone tells, from `eig.accumulate` on an empty precision.
        posterior: before it.
    """
    geometry = _log_det(view.geometry, posterior.geometry)
    color = _log_det(view.color, posterior.color)
    background = jnp.sum(jnp.log1p(view.background * posterior.background**2))
    return 0.5 * (jnp.sum(geometry) + _CHANNELS * jnp.sum(color) + _CHANNELS * background)


_block_gain = jax.jit(block_gain)


def _log_det(packed: Float[Array, "N packed"], factor: Float[Array, "N d d"]) -> Float[Array, "N"]:
    """Return log det(I + F^T H F) of every block."""
    H = unpack(packed, factor.shape[-1])
    inner = jnp.einsum("nki,nkl,nlj->nij", factor, H, factor, precision="highest")
    values = jnp.linalg.eigvalsh(0.5 * (inner + jnp.swapaxes(inner, 1, 2)))
    return jnp.sum(jnp.log1p(jnp.maximum(values, 0.0)), -1)  # below 0 only by rounding


def joint_gain(
    key: Key[Array, ""],
    gaussians: Gaussians,
    alive: Bool[Array, "N"],
    posterior: eig.Posterior,
    camera: Camera,
    background: Float[Array, "H W 3"],
    settings: RenderSettings,
    *,
    noise: Float[ArrayLike, ""],
    probes: int = 8,
    steps: int = 40,
    sh_degree: int | Int[Array, ""] = 3,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return the joint gain (nats) of a view with everything that Gaussians share, and its standard error.

    The posterior is block diagonal, but the view's information is not cut into blocks. Every probe costs `steps`
    passes forward and backward.

    Args:
        key: draws the probes.
        gaussians: in the world frame at the time of the view.
        alive: slots in use.
        posterior: before the view.
        camera: of the view.
        background: what shows where opacity is missing.
        settings: those of the render.
        noise: standard deviation of one observed channel.
        probes: random vectors; their spread gives the standard error.
        steps: of the Lanczos iteration.
        sh_degree: highest band rendered.
    """
    view, (*still, _) = differentiable(gaussians, alive, camera, background, settings, sh_degree)
    shown = lambda delta, sh: view(delta, sh, background)
    _, pull = jax.vjp(shown, *still)
    alpha = render(gaussians, alive, camera, settings, sh_degree=0).alpha
    beyond = ((1 - alpha) * backdrop.look_up(posterior.background, camera) / noise) ** 2

    def product(y: Float[Array, "D"]) -> Float[Array, "D"]:
        """Return (I + J Sigma J^T / noise^2) y, over all channels of all pixels."""
        image = y.reshape(camera.height, camera.width, _CHANNELS)
        geometry, sh = pull(image)
        geometry = _spread(posterior.geometry, geometry[..., None])[..., 0]
        _, answer = jax.jvp(shown, tuple(still), (geometry, _spread(posterior.color, sh)))
        return (image + answer / noise**2 + beyond[..., None] * image).reshape(-1)

    size = camera.height * camera.width * _CHANNELS
    samples = 0.5 * log_det_samples(key, product, size, probes, min(steps, size))
    return jnp.mean(samples), jnp.std(samples, ddof=1) / jnp.sqrt(probes)


def _spread(factor: Float[Array, "N d d"], x: Float[Array, "N d c"]) -> Float[Array, "N d c"]:
    """Return F F^T x."""
    inner = jnp.einsum("nki,nkc->nic", factor, x, precision="highest")
    return jnp.einsum("nij,njc->nic", factor, inner, precision="highest")


def log_det_samples(
    key: Key[Array, ""],
    product: Callable[[Float[Array, "D"]], Float[Array, "D"]],
    size: int,
    probes: int,
    steps: int,
) -> Float[Array, "probes"]:
    """Return independent estimates of log det of a symmetric matrix >= I, given its product with a vector."""

    def one(key: Key[Array, ""]) -> Float[Array, ""]:
        z = jax.random.rademacher(key, (size,), jnp.float32)
        diagonal, beside = lanczos(product, z / jnp.sqrt(size), steps)
        T = jnp.diag(diagonal) + jnp.diag(beside[:-1], 1) + jnp.diag(beside[:-1], -1)
        values, vectors = jnp.linalg.eigh(T)
        return size * jnp.sum(vectors[0] ** 2 * jnp.log(jnp.maximum(values, 1.0)))

    return jax.lax.map(one, jax.random.split(key, probes))


def lanczos(
    product: Callable[[Float[Array, "D"]], Float[Array, "D"]], start: Float[Array, "D"], steps: int
) -> tuple[Float[Array, "steps"], Float[Array, "steps"]]:
    """Return the diagonal and what stands beside it of the tridiagonal matrix (unit `start`, orthogonalized twice).

    Where the Krylov space ends early, the rest decouples: zeros beside the diagonal.
    """

    product_of = functools.partial(jnp.matmul, precision="highest")

    def step(k: Array, carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        basis, q, diagonal, beside = carry
        basis = basis.at[k].set(q)
        w = product(q)
        diagonal = diagonal.at[k].set(jnp.dot(q, w, precision="highest"))
        scale = jnp.linalg.norm(w)
        for _ in range(2):
            w = w - product_of(basis.T, product_of(basis, w))
        length = jnp.linalg.norm(w)
        ended = length <= 1e-5 * scale
        return basis, jnp.where(ended, 0.0, w / length), diagonal, beside.at[k].set(jnp.where(ended, 0.0, length))

    zero = jnp.zeros(steps)
    carry = jnp.zeros((steps, start.shape[0])), start, zero, zero
    _, _, diagonal, beside = jax.lax.fori_loop(0, steps, step, carry)
    return diagonal, beside


@functools.partial(jax.jit, static_argnames=("settings",))
def view_information(
    scene: Scene, view: View, settings: RenderSettings, noise: Float[ArrayLike, ""], sh_degree: Int[Array, ""]
) -> eig.Precision:
    """Return what one view alone would tell about a scene, wherever it was taken from."""
    seen, (gaussians, alive, axes) = render_scene(scene, view, settings, sh_degree), compose(scene, view.time)
    camera, nothing = refined_camera(scene.params, view), eig.init_precision(gaussians)
    arguments = nothing, gaussians, alive, camera, seen.linear, settings
    return eig.accumulate(*arguments, noise=noise, alpha=seen.alpha, sh_degree=sh_degree, axes=axes)


@functools.partial(jax.jit, static_argnames=("settings",))
def pixel_gain(
    scene: Scene,
    posterior: eig.Posterior,
    view: View,
    settings: RenderSettings,
    noise: Float[ArrayLike, ""],
    sh_degree: Int[Array, ""],
) -> Float[Array, ""]:
    """Return the sum of the EIG (nats) of all pixels of a view, given the posterior before it."""
    seen, (gaussians, alive, axes) = render_scene(scene, view, settings, sh_degree), compose(scene, view.time)
    camera = refined_camera(scene.params, view)
    arguments = gaussians, alive, posterior, camera, seen.linear, seen.alpha, settings
    return jnp.sum(eig.eig_map(*arguments, noise=noise, sh_degree=sh_degree, axes=axes))


@functools.partial(jax.jit, static_argnames=("priors",))
def _believe(precision: eig.Precision, gaussians: Gaussians, priors: eig.Priors) -> eig.Posterior:
    return eig.posterior(precision, priors, gaussians)


@functools.partial(jax.jit, static_argnames=("settings", "priors"))
def left_open(
    scene: Scene,
    precision: eig.Precision,
    views: View,
    settings: RenderSettings,
    noise: Float[ArrayLike, ""],
    priors: eig.Priors,
    sh_degree: Int[Array, ""],
) -> Float[Array, ""]:
    """Return the sum of `pixel_gain` (nats) over views, which are stacked along the first axis."""
    posterior = eig.posterior(precision, priors, scene.params.gaussians)
    gain = lambda view: pixel_gain(scene, posterior, view, settings, noise, sh_degree)
    return jnp.sum(jax.lax.map(gain, views))


SCORES = ("blocks", "pixels", "wanted")


def select_views(
    scene: Scene,
    precision: eig.Precision,
    candidates: Sequence[View],
    count: int,
    settings: RenderSettings,
    *,
    noise: Float[ArrayLike, ""],
    priors: eig.Priors,
    sh_degree: int = 3,
    score: str = "blocks",
    wanted: Sequence[View] = (),
) -> Choice:
    """Choose views one by one, each the one of largest score given those before it.

    Every round costs one pass per candidate that is left, with "wanted" one posterior and as many maps as views are
    wanted; the chosen view's information joins the precision.

    Args:
        scene: as reconstructed so far.
        precision: what is known so far.
        candidates: views to choose from; their images are not needed.
        count: how many to choose.
        settings: renderer settings.
        noise: standard deviation of one observed channel.
        priors: what is believed without any view.
        sh_degree: highest band rendered.
        score: "blocks" for `block_gain`, "pixels" for `pixel_gain`, "wanted" for the fall of `left_open`.
        wanted: views that are to be predicted, of one size, for the score "wanted".

    Raises:
        ValueError: if there are fewer candidates, the score does not exist, or it lacks wanted views.
    """
    if score not in SCORES:
        raise ValueError(f"{score=} is unknown: use one of {SCORES}.")
    if not 0 <= count <= len(candidates):
        raise ValueError(f"cannot choose {count} of {len(candidates)} views.")
    if score == "wanted" and not wanted:
        raise ValueError("score='wanted' scores by the views to be predicted, and there are none: give `wanted`.")
    degree, gaussians = jnp.int32(sh_degree), scene.params.gaussians
    told = lambda i: view_information(scene, candidates[i], settings, noise, degree)
    together = jax.tree.map(lambda *views: jnp.stack(views), *wanted) if wanted else None
    open_after = lambda known: float(left_open(scene, known, together, settings, noise, priors, degree))

    def score_of(i: int, before: eig.Posterior, known: eig.Precision) -> float:
        if score == "wanted":
            return -open_after(jax.tree.map(jnp.add, known, told(i)))
        if score == "pixels":
            return float(pixel_gain(scene, before, candidates[i], settings, noise, degree))
        return float(_block_gain(told(i), before))

    left, order, gains = list(range(len(candidates))), [], []
    for _ in progress(count, "choosing views"):
        before = _believe(precision, gaussians, priors)
        scores = [score_of(i, before, precision) for i in left]
        best = max(range(len(left)), key=scores.__getitem__)
        order.append(left.pop(best))
        gains.append(scores[best] + (open_after(precision) if score == "wanted" else 0.0))
        precision = jax.tree.map(jnp.add, precision, told(order[-1]))
    return Choice(tuple(order), tuple(gains), precision)
