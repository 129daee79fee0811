"""What recorded views say about a scene, camera by camera."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.contract import select
from ff_jax.data.from_world import world_scene
from ff_jax.data.world import WorldConfig
from ff_jax.render import RenderSettings
from ff_jax.scene import init_scene
from ff_jax.train.feed import Feed
from ff_jax.train.progressive import noise_by_camera, observe

SETTINGS = RenderSettings(capacity=4096)


def test_noise_belongs_to_the_camera():
    rng = np.random.default_rng()
    cameras = ["front", "left", "front", "left", "left"]
    true = {"front": 0.02, "left": 0.2}
    residuals = [jnp.asarray(rng.normal(0, true[name], 4000), jnp.float32) for name in cameras]
    found = noise_by_camera(residuals, cameras)
    assert list(found) == ["front", "left"]
    for name, value in true.items():
        assert float(found[name]) == pytest.approx(value, rel=0.1)


@pytest.fixture(scope="module")
def log():
    config = WorldConfig(num_frames=2, moving=False)
    return world_scene(1, config, 40, 24, ("front", "front_left"), lidar=False)


def test_cameras_are_observed_as_if_each_were_alone(log):
    rng = np.random.default_rng()
    arrays = (rng.uniform([4, -6, 0], [25, 6, 6], (60, 3)), rng.random((60, 3)), np.full(60, 0.5))
    sizes = {"capacity": 64, "sh_degree": 0, "exposures": 4, "frames": 4, "cameras": 2}
    scene = init_scene(jax.random.key(0), *(jnp.asarray(a, jnp.float32) for a in arrays), **sizes)
    feeds = [Feed(part, part.frames) for part in (log, *(select(log, cameras=(name,)) for name in log.cameras))]
    both, front, left = (observe(scene, feed, SETTINGS, 0, 0.0) for feed in feeds)
    assert float(front.noise) != float(left.noise)
    geometry = np.asarray(front.precision.geometry) + np.asarray(left.precision.geometry)
    assert np.abs(geometry).max() > 0
    np.testing.assert_allclose(both.precision.geometry, geometry, rtol=1e-3, atol=1e-5 * np.abs(geometry).max())
