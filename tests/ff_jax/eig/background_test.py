"""The information of views about the background, per direction."""

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.eig import background
from tests.random_inputs import seeded_rng
from tests.scenes import pinhole

W, H = 24, 16


def camera(yaw=0.0):
    return pinhole(W, H, 20.0, yaw=yaw)


def test_cells_cover_the_sphere_evenly_and_are_small():
    rng = seeded_rng()
    directions = rng.normal(size=(200_000, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    cells = np.asarray(background.cell_of(jnp.asarray(directions, jnp.float32)))
    count = np.bincount(cells, minlength=background.CELLS)
    assert len(count) == background.CELLS and count.min() > 40 and count.max() < 600
    for cell in rng.integers(0, background.CELLS, 20):
        inside = directions[cells == cell]
        assert np.degrees(np.arccos(np.clip(inside @ inside[0], -1, 1))).max() < 15


@pytest.mark.slow
def test_only_observed_open_sky_has_a_small_variance():
    alpha = jnp.zeros((H, W)).at[H // 2 :].set(0.9)
    information = background.information(camera(), alpha, jnp.ones((H, W)))
    std = background.posterior_std(information / 0.02**2, 0.3)
    behind = np.asarray(background.look_up(std, camera()))
    np.testing.assert_allclose(behind[: H // 2 - 3], 0.02, rtol=1e-2)  # that of one observation
    np.testing.assert_allclose(behind[H // 2 + 3 :], 0.3)
    np.testing.assert_allclose(background.look_up(std, camera(np.pi)), 0.3)
    assert not background.information(camera(), alpha, jnp.zeros((H, W))).any()


@pytest.mark.slow
def test_more_views_never_increase_the_variance():
    rng = seeded_rng()
    total, last = jnp.zeros(background.CELLS), 0.3
    for yaw in rng.uniform(-0.5, 0.5, 4):
        alpha, weight = (jnp.asarray(rng.random((H, W)), jnp.float32) for _ in range(2))
        total = total + background.information(camera(yaw), alpha, weight)
        std = background.posterior_std(total / 0.05**2, 0.3)
        assert (std <= last).all()
        last = std


def test_small_weights_are_not_rounded_away():
    """A sky that misses its clouds has weights of 1e-4 per pixel, and is still observed by many views."""
    rng = seeded_rng()
    for scale in (1.0, 1e-3, 1e-5, 1e-7):
        weight = (scale * rng.uniform(0.5, 1, (H, W))).astype(np.float32)
        information = np.asarray(background.information(camera(), jnp.zeros((H, W)), jnp.asarray(weight)))
        cells = np.asarray(background.cell_of(background.ray_directions(camera())))
        for cell in np.unique(cells):
            np.testing.assert_allclose(information[cell], weight[cells == cell].mean(), rtol=1e-5 + 2e-9 / scale)
