"""Density control on a buffer of fixed capacity: when it runs, and the default rule, Markov chain Monte Carlo.

3D Gaussian Splatting as Markov Chain Monte Carlo (Kheradmand et al. 2024, arXiv 2404.09591): transparent
Gaussians are relocated onto opaque ones, new ones are added the same way until the budget is reached, and noise lets
transparent Gaussians explore. Shapes never change: adding and removing only flip `alive`.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, Key

from ff_jax.render.gaussians import Gaussians
from ff_jax.render.rigid import quats_to_matrices
from ff_jax.runtime.settings import MAX_STEPS, Settings, bounded

METHODS = ("mcmc", "split")
_MAX_COPIES = 51  # the scale rule below sums this many binomial terms at most


@dataclasses.dataclass(frozen=True)
class DensityConfig(Settings):
    """When and how Gaussians are added, relocated, pruned and perturbed.

    Attributes:
        method: "mcmc", or "split": clone, split and prune (`ff_jax.train.densify.split_prune`, whose thresholds are in
            `recon.split`).
        start, stop, every: density control runs at steps start < step < stop, each `every` steps.
        growth: factor by which the number of alive Gaussians grows per run ("mcmc").
        min_opacity: more transparent Gaussians are relocated or pruned.
        noise: strength of the exploration noise, per unit of the means' learning rate ("mcmc").
    """

    method: str = "mcmc"
    start: int = bounded(500, 0, MAX_STEPS)
    stop: int = bounded(25_000, 0, MAX_STEPS)
    every: int = bounded(100, 1, MAX_STEPS)
    growth: float = bounded(1.05, 1.0, 10.0)
    min_opacity: float = bounded(0.005, 1e-6, 0.9)
    noise: float = bounded(5e5, 0.0, 1e9)

    def __post_init__(self):
        """Check the method."""
        super().__post_init__()
        if self.method not in METHODS:
            raise ValueError(f"density.method={self.method!r} does not exist; use one of {', '.join(METHODS)}.")


def _shared_opacity_and_scale(
    opacity: Float[Array, "N"], copies: Int[Array, "N"]
) -> tuple[Float[Array, "N"], Float[Array, "N"]]:
    """Compute opacity and scale factor of n copies that together look like one Gaussian (eq. 9 of the paper).

    o' = 1 - (1 - o)^(1/n);  s'/s = o / sum_{i=1..n} sum_{k<i} C(i-1, k) (-1)^k o'^(k+1) / sqrt(k+1).
    """
    n = jnp.clip(copies, 1, _MAX_COPIES)
    shared = 1.0 - (1.0 - opacity) ** (1.0 / n)

    # sum_{i=1..n} C(i-1, k) = C(n, k+1), so the double sum has one binomial term per k.
    def term(k: Int[Array, ""], carry: tuple[Array, Array]) -> tuple[Array, Array]:
        total, power = carry  # power = C(n, k+1) (-1)^k shared^(k+1)
        total = total + power / jnp.sqrt(k + 1.0)
        return total, -power * shared * (n - k - 1.0) / (k + 2.0)

    total, _ = jax.lax.fori_loop(0, _MAX_COPIES, term, (jnp.zeros_like(shared), n * shared))
    return shared, opacity / jnp.maximum(total, 1e-8)


class Relocated(NamedTuple):
    """The buffer after density control."""

    gaussians: Gaussians
    alive: Bool[Array, "N"]
    changed: Bool[Array, "N"]  # slots whose optimizer moments must be reset
    source: Int[Array, "N"]  # the slot that each slot was copied from; itself where nothing was copied


def _draw(key: Key[Array, ""], weights: Float[Array, "N"]) -> Int[Array, "N"]:
    """Draw as many slots as there are, with replacement, with probabilities proportional to weights.

    Parallel prefix sums of float32 are not monotone, and may rise where the weight is 0. Their running maximum over the
    slots of positive weight rises at such slots only, so no other slot is drawn.
    """
    sums = jnp.cumsum(weights)
    cumulative = jax.lax.cummax(jnp.where(weights > 0, sums, 0.0))
    draws = jax.random.uniform(key, weights.shape) * cumulative[-1]
    draws = jnp.minimum(draws, jnp.nextafter(cumulative[-1], 0.0))  # the product may round up to the sum
    return jnp.clip(jnp.searchsorted(cumulative, draws, side="right"), 0, len(weights) - 1)


def relocate(
    key: Key[Array, ""],
    gaussians: Gaussians,
    alive: Bool[Array, "N"],
    config: DensityConfig,
    budget: int,
) -> Relocated:
    """Relocate transparent Gaussians onto opaque ones, and add new ones.

    Args:
        key: random key.
        gaussians: the buffer.
        alive: slots in use.
        config: thresholds and growth.
        budget: largest number of alive Gaussians.
    """
    count = alive.shape[0]
    opacity = jnp.where(alive, jax.nn.sigmoid(gaussians.logit_opacities), 0.0)
    healthy = opacity > config.min_opacity
    grown = jnp.minimum(jnp.ceil(config.growth * alive.sum()).astype(jnp.int32), budget)
    num_new = jnp.maximum(grown - alive.sum(), 0)
    free_rank = jnp.cumsum(~alive)
    target = (alive & ~healthy) | (~alive & (free_rank <= num_new))
    target = target & jnp.any(healthy)
    source = _draw(key, jnp.where(healthy, opacity, 0.0))
    copies = 1 + jnp.zeros(count, jnp.int32).at[source].add(target.astype(jnp.int32))
    shared, factor = _shared_opacity_and_scale(opacity, copies)
    shared = jnp.clip(shared, config.min_opacity, 1.0 - 1e-6)
    is_source = copies > 1
    split = gaussians.replace(
        logit_opacities=jnp.where(is_source, jax.scipy.special.logit(shared), gaussians.logit_opacities),
        log_scales=jnp.where(is_source[:, None], gaussians.log_scales + jnp.log(factor)[:, None], gaussians.log_scales),
    )

    def copy_from_source(x: Array) -> Array:
        mask = target.reshape((-1,) + (1,) * (x.ndim - 1))
        return jnp.where(mask, x[source], x)

    copied = jnp.where(target, source, jnp.arange(count))
    return Relocated(jax.tree.map(copy_from_source, split), alive | target, target | is_source, copied)


def explore(
    key: Key[Array, ""],
    gaussians: Gaussians,
    alive: Bool[Array, "N"],
    step_size: float | Float[Array, ""],
    config: DensityConfig,
) -> Gaussians:
    """Add noise to the means of transparent Gaussians along their own covariance (eq. 8 of the paper).

    `step_size` is the current learning rate of the means (meters).
    """
    opacity = jax.nn.sigmoid(gaussians.logit_opacities)
    gate = jax.nn.sigmoid(-100.0 * (opacity - config.min_opacity)) * alive  # 1 for transparent, 0 for opaque
    rotation = quats_to_matrices(gaussians.quats)
    half = rotation * jnp.exp(gaussians.log_scales)[:, None, :]
    noise = jax.random.normal(key, gaussians.means.shape) * (gate * config.noise * step_size)[:, None]
    spread = jnp.einsum("nij,nkj,nk->ni", half, half, noise, precision="highest")
    return gaussians.replace(means=gaussians.means + spread)
