"""Density control on a buffer of fixed capacity: clone, split, prune.

The rule of 3D Gaussian Splatting (Kerbl et al. 2023, arXiv 2308.04079, section 5.2): where the loss has a large
gradient with respect to a projected center, one Gaussian is not enough. A small one is cloned, a large one is split.
Transparent and oversized ones are pruned. Opacities are reset now and then, until a stated step, to find Gaussians that
are not needed. Shapes never change: children take free slots; if those run out, the largest gradients come first.

Measured beside MCMC on three synthetic streets (demo settings, 16,000 Gaussians, no reset within the 1,300 steps):
recorded views 30.83 against 29.88 dB, 3 m beside them 23.07 against 22.98 dB.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from jaxtyping import Bool, Float, Int, Key

from ff_jax.render.gaussians import Gaussians
from ff_jax.render.rigid import quats_to_matrices
from ff_jax.runtime.settings import MAX_STEPS, Settings, bounded
from ff_jax.train.densify.mcmc import Relocated

SHRINK = 1.6  # by which the two halves of a split Gaussian are narrower


@dataclasses.dataclass(frozen=True)
class SplitConfig(Settings):
    """Thresholds of clone, split and prune; lengths are in units of a node's extent.

    The extent is the scene radius for the background, and half the longest edge of its box for an actor.

    Attributes:
        gradient: mean norm of the loss gradient with respect to the projected center, times half the longer image
            side in pixels; above it a Gaussian is cloned or split.
        clone_below: largest standard deviation of Gaussians that are cloned instead of split.
        prune_above, prune_above_actor: largest standard deviation that is not pruned, of the background and of actors.
        reset_every: steps between two opacity resets.
        reset_until: no reset at this step or later, so that opacities have time to recover.
        reset_to, reset_to_soft: largest opacity after a reset, of rigid and of deformable nodes.
    """

    gradient: float = bounded(2e-4, 0.0, 1e6)
    clone_below: float = bounded(0.01, 0.0, 1e6)
    prune_above: float = bounded(0.5, 1e-6, 1e6)
    prune_above_actor: float = bounded(1.0, 1e-6, 1e6)
    reset_every: int = bounded(3000, 1, MAX_STEPS)
    reset_until: int = bounded(12_000, 0, MAX_STEPS)
    reset_to: float = bounded(0.01, 1e-6, 0.999)
    reset_to_soft: float = bounded(0.1, 1e-6, 0.999)

    def __post_init__(self):
        """Check that a reset of soft nodes is not below that of rigid ones."""
        super().__post_init__()
        if self.reset_to > self.reset_to_soft:
            raise ValueError(f"reset_to={self.reset_to} must be at most reset_to_soft={self.reset_to_soft}.")


class Mean2dGradStats(struct.PyTreeNode):
    """Gradients with respect to the projected centers since the last density control."""

    total: Float[Array, "N"]  # sum over views of the gradient norm, per half image side
    num_views: Int[Array, "N"]  # views with a nonzero gradient


class NodeRules(NamedTuple):
    """Limits of each of M nodes (0 is the background)."""

    extent: Float[Array, "M"]  # meters
    prune_above: Float[Array, "M"]  # in units of the extent
    reset_to: Float[Array, "M"]  # opacity
    quota: Int[Array, "M"]  # largest number of alive Gaussians


def init_grad_stats(count: int) -> Mean2dGradStats:
    """Make the statistics before the first view: zeros."""
    return Mean2dGradStats(jnp.zeros(count), jnp.zeros(count, jnp.int32))


def add_gradient(
    stats: Mean2dGradStats, gradient: Float[Array, "N 2"], side: Float[Array, ""] | int
) -> Mean2dGradStats:
    """Add one view.

    Args:
        stats: of the views so far.
        gradient: of the loss with respect to projected centers, per pixel; 0 for Gaussians that are not visible.
        side: longer side of the image, pixels. The loss is a mean over pixels, so with this factor one threshold is
            right for all resolutions.
    """
    length = jnp.linalg.norm(gradient, axis=-1) * (0.5 * side)
    return Mean2dGradStats(stats.total + length, stats.num_views + (length > 0))


def clone_split_prune(
    key: Key[Array, ""],
    gaussians: Gaussians,
    alive: Bool[Array, "N"],
    node: Int[Array, "N"],
    stats: Mean2dGradStats,
    rules: NodeRules,
    config: SplitConfig,
    min_opacity: float,
) -> Relocated:
    """Prune, then clone and split into free slots.

    Args:
        key: random key of the positions of split halves.
        gaussians: the buffer, or the part of it whose slots these nodes share.
        alive: slots in use.
        node: owner of each slot; children belong to the node of their parent.
        stats: since the last density control.
        rules: limits of all nodes.
        config: thresholds.
        min_opacity: more transparent Gaussians are pruned.
    """
    size = jnp.exp(gaussians.log_scales).max(-1) / rules.extent[node]
    alive = alive & (jax.nn.sigmoid(gaussians.logit_opacities) >= min_opacity) & (size <= rules.prune_above[node])
    mean = stats.total / jnp.maximum(stats.num_views, 1)
    target, source = select_children(alive, node, mean, config.gradient, rules.quota)
    parent = jnp.zeros_like(target).at[source].max(target)
    large = size > config.clone_below
    halved = (parent | target) & large[source]
    grown = jax.tree.map(lambda x: x[source], gaussians)
    spread = quats_to_matrices(grown.quats) * jnp.exp(grown.log_scales)[:, None, :]
    apart = jnp.einsum("nij,nj->ni", spread, jax.random.normal(key, grown.means.shape), precision="highest")
    gaussians = grown.replace(
        means=jnp.where(halved[:, None], grown.means + apart, grown.means),
        log_scales=jnp.where(halved[:, None], grown.log_scales - jnp.log(SHRINK), grown.log_scales),
    )
    return Relocated(gaussians, alive | target, target | halved, source)


def select_children(
    alive: Bool[Array, "N"],
    node: Int[Array, "N"],
    score: Float[Array, "N"],
    threshold: float,
    quota: Int[Array, "M"],
) -> tuple[Bool[Array, "N"], Int[Array, "N"]]:
    """Select the free slots to fill, and for every slot its source (itself if it is not filled).

    Each alive Gaussian above `threshold` gets one child as long as its node is below its quota and slots are free;
    those with the highest scores come first.
    """
    count, nodes = alive.shape[0], quota.shape[0]
    own = jnp.zeros(nodes, jnp.int32).at[node].add(alive.astype(jnp.int32))
    selected = alive & (score > threshold)
    # After sorting by node and score, the rank within a node is the position minus that of the node's first entry.
    group = jnp.where(selected, node, nodes)
    order = jnp.lexsort((-score, group))
    ordered = group[order]
    rank = jnp.arange(count) - jnp.searchsorted(ordered, ordered, side="left")
    free_quota = jnp.append(quota - own, 0)
    accepted = jnp.zeros_like(alive).at[order].set(rank < free_quota[ordered])
    best = jnp.argsort(jnp.where(accepted, -score, jnp.inf))
    free_rank = jnp.cumsum(~alive) - 1
    target = ~alive & (free_rank < accepted.sum())
    return target, jnp.where(target, best[jnp.clip(free_rank, 0, count - 1)], jnp.arange(count))


def is_reset(step: Int[Array, ""], every: int, config: SplitConfig) -> Bool[Array, ""]:
    """Check whether density control at `step`, which runs every `every` steps, also resets opacities."""
    return (step % config.reset_every < every) & (step >= config.reset_every) & (step < config.reset_until)


def lower_opacities(gaussians: Gaussians, limit: Float[Array, "N"]) -> Gaussians:
    """Limit opacities to at most `limit`."""
    logits = jnp.minimum(gaussians.logit_opacities, jax.scipy.special.logit(limit))
    return gaussians.replace(logit_opacities=logits)
