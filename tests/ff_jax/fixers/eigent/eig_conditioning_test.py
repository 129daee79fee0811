"""EIG per latent pixel and per token, against loops."""

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.eigent import eig_conditioning
from tests.random_inputs import seeded_rng


def test_latent_map_follows_the_groups_of_frames():
    eig = seeded_rng().random((2, 9, 16, 24), np.float32)
    found = eig_conditioning.latent_eig(jnp.asarray(eig))
    assert found.shape == (2, 3, 2, 3)
    np.testing.assert_array_equal(found[:, 0], 0)
    for k in (1, 2):
        for y in range(2):
            for x in range(3):
                pixels = eig[:, 4 * k - 3 : 4 * k + 1, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
                np.testing.assert_allclose(found[:, k, y, x], pixels.mean((2, 3)).max(1), rtol=1e-5)


def test_tokens_are_steered_unless_one_of_their_pixels_is_saturated():
    eig = np.full((1, 2, 4, 6), 0.5, np.float32)
    eig[0, 1, 3, 2] = 1.0
    tokens = eig_conditioning.token_eig(jnp.asarray(eig), 2)
    expected = np.ones((2, 2, 3), np.float32)
    expected[1, 1, 1] = 0
    np.testing.assert_array_equal(eig_conditioning.steering_mask(tokens)[0].reshape(2, 2, 3), expected)
    np.testing.assert_allclose(tokens[0], np.where(expected.ravel() == 0, 1.0, 0.5))


def test_tokens_of_several_frames_take_the_largest_value():
    eig = seeded_rng().random((2, 4, 4, 6), np.float32)
    found = eig_conditioning.token_eig(jnp.asarray(eig), 2, 2)
    patch = lambda t, y, x: eig[:, 2 * t : 2 * t + 2, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].max((1, 2, 3))
    expected = [patch(t, y, x) for t in range(2) for y in range(2) for x in range(3)]
    np.testing.assert_array_equal(found, np.stack(expected, 1))


def test_wrong_maps_are_named():
    for shape in ((1, 8, 16, 16), (1, 9, 12, 16)):
        with pytest.raises(ValueError, match=r"must have 1 \+ 4k frames, and height and width that are multiples of 8"):
            eig_conditioning.latent_eig(jnp.zeros(shape))
