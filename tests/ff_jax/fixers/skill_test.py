"""The measured skill of a fixer."""

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.skill import EDGES, FULL, full_skill, measure_skill, no_skill, skill_weight
from ff_jax.fixers.triples import Triples
from tests.random_inputs import seeded_rng


def test_skill_is_the_removed_share_of_the_error_in_every_bin_of_eig():
    rng = seeded_rng()
    eigs = rng.choice([0.01, 0.3, 3.0], (4, 10, 12)).astype(np.float32)
    targets = rng.uniform(0.3, 0.7, (4, 10, 12, 3)).astype(np.float32)
    error = rng.uniform(0.05, 0.1, targets.shape).astype(np.float32)
    left = np.select([eigs == np.float32(0.01), eigs == np.float32(0.3)], [1.2, 0.5], 0.0)[..., None]
    triples = Triples(*map(jnp.asarray, (targets + error, eigs, targets, targets)))
    skill = measure_skill(jnp.asarray(targets + left * error), triples)
    overall = 1 - np.sum((left * error) ** 2) / np.sum(error**2)
    assert float(skill.overall) == pytest.approx(overall, rel=1e-3) and skill.is_useful
    np.testing.assert_allclose(skill.by_eig[np.array([0, 3, 6])], [1 - 1.44, 0.75, 1.0], atol=2e-3)
    np.testing.assert_allclose(skill.by_eig[np.array([1, 2, 4, 5])], overall, rtol=1e-3)  # bins without pixels
    # Another signal weights the pixels: its bins count.
    other = triples.replace(eigs=jnp.ones_like(triples.eigs), weight_eigs=triples.eigs)
    np.testing.assert_array_equal(measure_skill(jnp.asarray(targets + left * error), other).by_eig, skill.by_eig)
    weights = skill_weight(skill, jnp.array([0.01, 0.3, 100.0]))
    np.testing.assert_allclose(weights, [0.0, 1.0, 1.0])


def test_weights_are_proportional_to_skill_up_to_full_skill():
    skill = no_skill()._replace(by_eig=jnp.linspace(-FULL, FULL, len(EDGES) + 1))
    weights = skill_weight(skill, jnp.array([0.0, *(edge + 1e-3 for edge in EDGES)]))
    np.testing.assert_allclose(weights, np.clip(np.linspace(-1, 1, len(EDGES) + 1), 0, 1), atol=1e-6)
    assert not no_skill().is_useful and not skill_weight(no_skill(), jnp.ones(3)).any()


def test_full_skill_changes_no_weight():
    eigs = jnp.asarray(seeded_rng().exponential(size=20), jnp.float32)
    assert full_skill().is_useful and (skill_weight(full_skill(), eigs) == 1).all()
