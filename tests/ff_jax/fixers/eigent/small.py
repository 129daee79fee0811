"""The smallest networks with all parts of the video fixer, and clips for them."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.studies.measures.robustness.small_trainings import small_eigent
from ff_jax.fixers.eigent import model
from ff_jax.fixers.triples import Triples

CONFIG = small_eigent()


def params(rng, config=CONFIG):
    """Return random parameters of the networks, moments and zero layers included."""
    found = model.init(jax.random.key(int(rng.integers(1 << 30))), config)
    return jax.tree.map(lambda leaf: leaf + jnp.asarray(0.1 * rng.random(leaf.shape), jnp.float32), found)


def clips(rng, count, size=(16, 16)):
    """Return stored clips."""
    image = lambda: rng.integers(0, 256, (count, 9, *size, 3), np.uint8)
    return Triples(image(), rng.exponential(1.0, (count, 9, *size)).astype(np.float16), image(), image())
