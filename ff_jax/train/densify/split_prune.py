"""Density control on a buffer of fixed capacity: clone, split, prune.

The rule of 3D Gaussian Splatting (Kerbl et al. 2023, arXiv 2308.04079, section 5.2): where the image pulls hard at a
Gaussian's projected centre, one Gaussian is not enough. A small one is cloned, a large one is split; transparent and
oversized ones are pruned, and opacities are lowered now and then so that what is not needed shows, until a stated
step. Shapes never change: children take dead slots, and where those run out the strongest pulls come first.

Measured beside MCMC on three built-in streets (demo settings, 16,000 Gaussians, no reset within the 1,300 steps):
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
from ff_jax.train.densify.mcmc import Relocated

SHRINK = 1.6  # by which the two halves of a split Gaussian are narrower


@dataclasses.dataclass(frozen=True)
class SplitConfig:
    """Thresholds of clone, split and prune; lengths are in units of a node's extent.

    The extent is the scene radius for the background, and half the longest edge of its box for an actor.

    Attributes:
        gradient: mean length of the loss gradient with respect to the projected centre, times half the longer image
            side in pixels; above it a Gaussian is cloned or split.
        clone_below: largest standard deviation of what is cloned instead of split.
        prune_above, prune_above_actor: largest standard deviation that stays.
        reset_every: steps between two opacity resets.
        reset_until: no reset at this step or later: what a reset hides must have time to come back.
        reset_to, reset_to_soft: opacity that a reset leaves at most; of Gaussians that deform, which are few.
    """

    gradient: float = 2e-4
    clone_below: float = 0.01
    prune_above: float = 0.5
    prune_above_actor: float = 1.0
    reset_every: int = 3000
    reset_until: int = 12_000
    reset_to: float = 0.01
    reset_to_soft: float = 0.1

    def __post_init__(self):
        """Check the numbers that would make resets meaningless."""
        if self.reset_every <= 0 or not 0 < self.reset_to <= self.reset_to_soft < 1:
            raise ValueError(
                f"reset_every={self.reset_every}, reset_to={self.reset_to}, reset_to_soft={self.reset_to_soft}: steps "
                "must be positive and 0 < reset_to <= reset_to_soft < 1."
            )


@struct.dataclass
class Pull:
    """How hard images pulled at the projected centres since the last density control."""

    total: Float[Array, "N"]  # sum over views of the length of the gradient, per half image side
    views: Int[Array, "N"]  # that saw the Gaussian


class Rules(NamedTuple):
    """What holds for each of M nodes (0 is the background)."""

    extent: Float[Array, "M"]  # metres
    prune_above: Float[Array, "M"]  # in units of the extent
    reset_to: Float[Array, "M"]  # opacity
    quota: Int[Array, "M"]  # Gaussians that may be alive


def no_pull(count: int) -> Pull:
    """Return that nothing was seen yet."""
    return Pull(jnp.zeros(count), jnp.zeros(count, jnp.int32))


def add_pull(pull: Pull, gradient: Float[Array, "N 2"], side: int) -> Pull:
    """Add one view.

    Args:
        pull: so far.
        gradient: of the loss with respect to projected centres, per pixel; 0 for Gaussians that the view does not see.
        side: longer side of the image, pixels. A mean over pixels is in the loss, so with this factor one threshold
            serves all resolutions.
    """
    length = jnp.linalg.norm(gradient, axis=-1) * (0.5 * side)
    return Pull(pull.total + length, pull.views + (length > 0))


def control(
    key: Key[Array, ""],
    gaussians: Gaussians,
    alive: Bool[Array, "N"],
    node: Int[Array, "N"],
    pull: Pull,
    rules: Rules,
    config: SplitConfig,
    min_opacity: float,
) -> Relocated:
    """Prune, then clone and split into free slots.

    Args:
        key: random key; draws where halves lie.
        gaussians: the buffer, or the part of it whose slots these nodes share.
        alive: slots in use.
        node: owner of each slot; children belong to the node of their parent.
        pull: since the last time.
        rules: of all nodes.
        config: thresholds.
        min_opacity: what is more transparent is pruned.
    """
    size = jnp.exp(gaussians.log_scales).max(-1) / rules.extent[node]
    alive = alive & (jax.nn.sigmoid(gaussians.logit_opacities) >= min_opacity) & (size <= rules.prune_above[node])
    mean = pull.total / jnp.maximum(pull.views, 1)
    target, source = births(alive, node, mean, config.gradient, rules.quota)
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


def births(
    alive: Bool[Array, "N"],
    node: Int[Array, "N"],
    score: Float[Array, "N"],
    threshold: float,
    quota: Int[Array, "M"],
) -> tuple[Bool[Array, "N"], Int[Array, "N"]]:
    """Return which dead slots are filled, and for every slot the one that it is filled from (else itself).

    Each alive Gaussian above `threshold` gets one child as long as its node is below its quota and slots are free;
    the highest scores come first.
    """
    count, nodes = alive.shape[0], quota.shape[0]
    own = jnp.zeros(nodes, jnp.int32).at[node].add(alive.astype(jnp.int32))
    wanted = alive & (score > threshold)
    # Sorted by node and then by score, a Gaussian's rank within its node is its place less that of the node's first.
    group = jnp.where(wanted, node, nodes)
    order = jnp.lexsort((-score, group))
    ordered = group[order]
    rank = jnp.arange(count) - jnp.searchsorted(ordered, ordered, side="left")
    room = jnp.append(quota - own, 0)
    granted = jnp.zeros_like(alive).at[order].set(rank < room[ordered])
    best = jnp.argsort(jnp.where(granted, -score, jnp.inf))
    free_rank = jnp.cumsum(~alive) - 1
    target = ~alive & (free_rank < granted.sum())
    return target, jnp.where(target, best[jnp.clip(free_rank, 0, count - 1)], jnp.arange(count))


def is_reset(step: Int[Array, ""], every: int, config: SplitConfig) -> Bool[Array, ""]:
    """Return whether density control at `step`, which runs each `every` steps, also lowers opacities."""
    return (step % config.reset_every < every) & (step >= config.reset_every) & (step < config.reset_until)


def lowered(gaussians: Gaussians, limit: Float[Array, "N"]) -> Gaussians:
    """Return the Gaussians with opacities of at most `limit`."""
    logits = jnp.minimum(gaussians.logit_opacities, jax.scipy.special.logit(limit))
    return gaussians.replace(logit_opacities=logits)
