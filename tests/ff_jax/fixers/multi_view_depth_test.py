"""Depth of recorded images by plane sweeping: a textured wall whose distance is known."""

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.multi_view_depth import SweepConfig, confirmed, sweep_depth
from ff_jax.fixers.reprojection import Views

WIDTH, HEIGHT, FOCAL, DEPTH = 64, 40, 60.0, 8.0
K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]], np.float32)
WAVES = np.random.default_rng(5).uniform(-12, 12, (40, 2))  # per meter
PHASES = np.random.default_rng(6).uniform(0, 6, (40, 3))
CONFIG = SweepConfig(num_depths=25)


def wall(right, rendered=DEPTH, contrast=1.0):
    """Return the view of a textured wall from a camera moved `right` meters, with some rendered depth."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    place = np.stack([(x - K[0, 2]) * DEPTH / FOCAL + right, (y - K[1, 2]) * DEPTH / FOCAL], -1)
    rgb = 0.5 + contrast * np.sin((place @ WAVES.T)[..., None] + PHASES).mean(-2)
    pose = np.eye(4, dtype=np.float32)
    pose[0, 3] = -right
    return rgb.astype(np.float32), np.full((HEIGHT, WIDTH), rendered, np.float32), K, pose


def views(*parts):
    return Views(*(jnp.stack([jnp.asarray(part[i]) for part in parts]) for i in range(4)))


def view(part):
    return Views(*map(jnp.asarray, part))


@pytest.mark.slow
def test_the_depth_of_a_wall_is_measured_though_the_render_is_wrong():
    sources = views(wall(1.5), wall(-1.5), wall(2.0), wall(-2.0))
    depth = np.asarray(sweep_depth(view(wall(0.0, 0.88 * DEPTH)), sources, CONFIG))[6:-6, 12:-12]
    assert (depth > 0).mean() > 0.8
    np.testing.assert_allclose(np.median(depth[depth > 0]), DEPTH, rtol=0.01)
    assert (np.abs(depth[depth > 0] / DEPTH - 1) < 0.03).mean() > 0.9


def test_without_texture_nothing_is_measured():
    sources = views(wall(0.6, contrast=0.0), wall(-0.6, contrast=0.0))
    assert not np.asarray(sweep_depth(view(wall(0.0, contrast=0.0)), sources, CONFIG)).any()


def test_a_depth_needs_other_images_that_confirm_it():
    measured = jnp.full((HEIGHT, WIDTH), DEPTH).at[:, : WIDTH // 2].set(1.1 * DEPTH)
    keep = np.asarray(confirmed(measured, view(wall(0.0)), views(wall(0.1), wall(-0.1), wall(0.2)), CONFIG))
    assert keep[:, WIDTH // 2 + 4 : -4].all() and not keep[:, : WIDTH // 2].any()
    alone = confirmed(measured, view(wall(0.0)), views(wall(0.1), wall(-0.1, 0.0)), CONFIG)
    assert not np.asarray(alone).any()
