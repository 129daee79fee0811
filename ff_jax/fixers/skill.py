"""The measured skill of a fixer on one log: by how much it reduces the error of views whose true image is known."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ff_jax.fixers.triples import Triples, from_bytes

EDGES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # nats; between the bins of EIG
USEFUL = 0.01  # smallest share of the squared error that a useful fixer removes
FULL = 0.3  # share of the squared error whose removal gives a repair its full weight
_FEW = 2e-3  # share of the pixels below which a bin says nothing by itself


class Skill(NamedTuple):
    """The share of the squared error that a fixer removes: 1 removes all of it, 0 nothing; negative: it adds error."""

    by_eig: Float[Array, "bins"]  # in the bins between 0, `EDGES` and infinity
    overall: Float[Array, ""]

    @property
    def is_useful(self) -> bool:
        """Return whether the fixer improves the views of this log."""
        return float(self.overall) >= USEFUL


def measure_skill(fixed: Float[Array, "n H W 3"], triples: Triples) -> Skill:
    """Measure the skill of a fixer on views that it was not trained on.

    Args:
        fixed: its repairs of `triples.renders`.
        triples: renders, EIG and true images, colors as floats or bytes; pixels of weight 0 do not count, and a bin
            with few pixels takes the overall skill. Bins are those of `weight_eigs`, if given.
    """
    targets = from_bytes(triples.targets)
    weights = 1.0 if triples.weights is None else from_bytes(triples.weights)
    before = weights * jnp.square(from_bytes(triples.renders) - targets).mean(-1)
    after = weights * jnp.square(fixed - targets).mean(-1)
    overall = 1.0 - after.sum() / jnp.maximum(before.sum(), 1e-12)
    eigs = triples.eigs if triples.weight_eigs is None else triples.weight_eigs
    inside = _bin_of(jnp.asarray(eigs, jnp.float32))[..., None] == jnp.arange(len(EDGES) + 1)
    old, new = (jnp.sum(jnp.where(inside, error[..., None], 0.0), (0, 1, 2)) for error in (before, after))
    by_eig = 1.0 - new / jnp.maximum(old, 1e-12)
    return Skill(jnp.where(inside.mean((0, 1, 2)) < _FEW, overall, by_eig), overall)


def skill_weight(skill: Skill, eig: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Convert skill to a weight in [0, 1] of every pixel: 0 where the fixer does not help, 1 from `FULL` on.

    Args:
        skill: of the fixer on this log.
        eig: of the rendered pixels, nats.
    """
    return jnp.clip(skill.by_eig / FULL, 0.0, 1.0)[_bin_of(eig)]


def no_skill() -> Skill:
    """Return the skill of a fixer that changes nothing."""
    return Skill(jnp.zeros(len(EDGES) + 1), jnp.zeros(()))


def full_skill() -> Skill:
    """Return the skill of a fixer whose repairs get their full weight, whatever it would measure."""
    return Skill(jnp.ones(len(EDGES) + 1), jnp.ones(()))


def _bin_of(eig: Float[Array, "*n"]) -> Array:
    return jnp.searchsorted(jnp.array(EDGES), eig)
