"""Positions against diffusers' tables and against the meaning of a rotation."""

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.eigent import positional_encoding
from ff_jax.fixers.eigent.network_config import COGVIDEOX_2B, COGVIDEOX_5B, COGVIDEOX_15_5B, DitConfig
from tests.ff_jax.fixers.eigent import originals
from tests.random_inputs import seeded_rng


@pytest.mark.parametrize("size", [(13, 60, 90), (13, 60, 60), (5, 96, 60), (1, 30, 90), (2, 44, 132)])
def test_rotations_equal_the_original(size):
    grid = (size[0], size[1] // 2, size[2] // 2)
    cos, sin = positional_encoding.rotary_angles(grid, (30, 45), 64)
    expected = originals.rotary(COGVIDEOX_5B, *size)
    for found, table in zip((cos, sin), expected, strict=True):
        np.testing.assert_allclose(np.repeat(found, 2, 1), table.numpy(), atol=1e-4)  # the table's angles are float32


@pytest.mark.parametrize("size", [(22, 96, 170), (2, 30, 44)])
def test_unscaled_rotations_equal_the_original(size):
    found = positional_encoding.rotary_angles((size[0] // 2, size[1] // 2, size[2] // 2), None, 64)
    for part, table in zip(found, originals.rotary(COGVIDEOX_15_5B, *size), strict=True):
        np.testing.assert_allclose(np.repeat(part, 2, 1), table.numpy(), atol=1e-4)  # the table's angles are float32


@pytest.mark.parametrize("size", [(13, 60, 90), (2, 8, 20)])
def test_added_positions_equal_the_original(size):
    grid, width = (size[0], size[1] // 2, size[2] // 2), 48
    found = positional_encoding.add_sincos(jnp.zeros((1, np.prod(grid), width)), grid, COGVIDEOX_2B.spatial_scale)
    np.testing.assert_allclose(found[0], originals.sincos(DitConfig(1, 1, 48), grid), atol=1e-4)


def test_products_depend_on_the_distance_alone():
    rng = seeded_rng()
    angles = positional_encoding.rotary_angles((5, 4, 6), (4, 6), 16)
    q, k = (jnp.broadcast_to(jnp.asarray(rng.normal(size=16), jnp.float32), (1, 120, 1, 16)) for _ in range(2))
    product = np.einsum(
        "nc,mc->nm",
        positional_encoding.rotate(q, angles)[0, :, 0],
        positional_encoding.rotate(k, angles)[0, :, 0],
    )
    product = product.reshape(5, 4, 6, 5, 4, 6)
    np.testing.assert_allclose(product[1:, 1:, 1:, 1:, 1:, 1:], product[:-1, :-1, :-1, :-1, :-1, :-1], atol=1e-4)
    np.testing.assert_allclose(product[0, 0, 0, 0, 0, 0], float(q[0, 0, 0] @ k[0, 0, 0]), rtol=1e-4, atol=1e-4)
    assert np.abs(product[0, 0, 0] - product[0, 0, 0, 0, 0, 0]).max() > 0.1


def test_prepended_tokens_come_first_and_do_not_rotate():
    angles = positional_encoding.prepend_identity(positional_encoding.rotary_angles((1, 2, 2), (2, 2), 16), 3)
    x = jnp.asarray(seeded_rng().normal(size=(1, 7, 2, 16)), jnp.float32)
    found = positional_encoding.rotate(x, angles)
    np.testing.assert_array_equal(found[:, :3], x[:, :3])
    np.testing.assert_allclose(jnp.linalg.norm(found, axis=-1), jnp.linalg.norm(x, axis=-1), rtol=1e-5)
