"""The identity fixer."""

import jax
import numpy as np

from ff_jax.fixers import identity
from ff_jax.fixers.fixer import fix


def test_none_returns_any_render_bit_for_bit():
    rng = np.random.default_rng(5)
    frames, references = rng.normal(size=(2, 11, 3, 5, 3)).astype(np.float32)
    eig = rng.exponential(size=(11, 3, 5)).astype(np.float32)
    np.testing.assert_array_equal(fix(identity.make_identity(), jax.random.key(0), frames, eig, references), frames)
