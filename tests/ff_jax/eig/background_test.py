"""What views say about the background, by direction."""

import jax.numpy as jnp
import jaxlie
import numpy as np

from ff_jax.eig import background
from ff_jax.render.camera import make_camera

W, H = 24, 16


def camera(yaw=0.0):
    pose = np.eye(4)
    pose[:3, :3] = jaxlie.SO3.from_y_radians(yaw).as_matrix()
    return make_camera(np.array([[20.0, 0, W / 2], [0, 20.0, H / 2], [0, 0, 1]]), pose, W, H)


def test_cells_cover_the_sphere_evenly_and_are_small():
    rng = np.random.default_rng()
    directions = rng.normal(size=(200_000, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    cells = np.asarray(background.cell_of(jnp.asarray(directions, jnp.float32)))
    count = np.bincount(cells, minlength=background.CELLS)
    assert len(count) == background.CELLS and count.min() > 40 and count.max() < 600
    for cell in rng.integers(0, background.CELLS, 20):
        inside = directions[cells == cell]
        assert np.degrees(np.arccos(np.clip(inside @ inside[0], -1, 1))).max() < 15


def test_only_open_sky_that_was_seen_becomes_known():
    alpha = jnp.zeros((H, W)).at[H // 2 :].set(0.9)
    told = background.information(camera(), alpha, jnp.ones((H, W)))
    std = background.posterior_std(told / 0.02**2, 0.3)
    behind = np.asarray(background.look_up(std, camera()))
    np.testing.assert_allclose(behind[: H // 2 - 3], 0.02, rtol=1e-2)  # as good as one look
    np.testing.assert_allclose(behind[H // 2 + 3 :], 0.3)
    np.testing.assert_allclose(background.look_up(std, camera(np.pi)), 0.3)
    assert not background.information(camera(), alpha, jnp.zeros((H, W))).any()


def test_more_views_never_make_it_less_known():
    rng = np.random.default_rng()
    total, last = jnp.zeros(background.CELLS), 0.3
    for yaw in rng.uniform(-0.5, 0.5, 4):
        alpha, weight = (jnp.asarray(rng.random((H, W)), jnp.float32) for _ in range(2))
        total = total + background.information(camera(yaw), alpha, weight)
        std = background.posterior_std(total / 0.05**2, 0.3)
        assert (std <= last).all()
        last = std
