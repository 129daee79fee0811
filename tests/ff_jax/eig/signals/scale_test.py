"""The common scale of signals."""

import numpy as np

from ff_jax.eig.signals import match_scale
from tests.random_inputs import seeded_rng


def test_the_order_is_that_of_the_signal_and_the_values_are_those_of_eig():
    rng = seeded_rng()
    values, eig = rng.normal(size=(3, 8, 9)).astype(np.float32), rng.exponential(size=(3, 8, 9)).astype(np.float32)
    matched = np.asarray(match_scale(values, eig))
    np.testing.assert_array_equal(np.sort(matched, None), np.sort(eig, None))
    np.testing.assert_array_equal(np.argsort(matched, None), np.argsort(values, None))
    np.testing.assert_array_equal(match_scale(np.exp(values), eig), matched)  # any unit
    np.testing.assert_array_equal(match_scale(eig, eig), eig)


def test_tied_pixels_get_one_value():
    rng = seeded_rng()
    eig = rng.exponential(size=101).astype(np.float32)
    np.testing.assert_array_equal(match_scale(np.zeros(101, np.float32), eig), np.full(101, np.median(eig)))
    values = rng.integers(0, 4, 101).astype(np.float32)
    matched = np.asarray(match_scale(values, eig))
    assert all(len(np.unique(matched[values == level])) == 1 for level in np.unique(values))
    assert (np.diff(matched[np.argsort(values, kind="stable")]) >= 0).all()
