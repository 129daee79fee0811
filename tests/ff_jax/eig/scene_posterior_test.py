"""The information of recorded views about a scene, camera by camera."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.recording import Recording
from ff_jax.data.scene_data import select
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.eig import scene_posterior
from ff_jax.eig.scene_posterior import noise_by_camera, scene_information, view_precision
from ff_jax.eig.view_selection import view_information
from ff_jax.render.renderer import RenderSettings
from ff_jax.scene import SceneModel
from ff_jax.train.batch import blank_batch
from ff_jax.train.batches import TrainBatches
from tests.random_inputs import seeded_rng
from tests.scenes import scene_from_points

pytestmark = pytest.mark.slow


def test_noise_belongs_to_the_camera():
    rng = seeded_rng()
    cameras = ["front", "left", "front", "left", "left"]
    true = {"front": 0.02, "left": 0.2}
    residuals = [jnp.asarray(rng.normal(0, true[name], 4000), jnp.float32) for name in cameras]
    noise = noise_by_camera(residuals, cameras)
    assert list(noise) == ["front", "left"]
    for name, value in true.items():
        assert float(noise[name]) == pytest.approx(value, rel=0.1)


def test_the_information_of_two_cameras_is_the_sum_of_both():
    config = StreetConfig(num_frames=2, moving=False)
    log = street_log(1, config, 40, 24, ("front", "front_left"), lidar=None)
    rng = seeded_rng()
    xyz, rgb = rng.uniform([4, -6, 0], [25, 6, 6], (60, 3)), rng.random((60, 3))
    scene = scene_from_points(xyz, rgb, 0.5, capacity=64, sh_degree=0, exposures=4, frames=4, cameras=2)
    model = SceneModel(scene, RenderSettings(capacity=4096), jnp.int32(0))
    logs = log, *(select(log, cameras=(name,)) for name in log.cameras)
    both, front, left = (scene_information(model, TrainBatches(Recording(part, part.frames)), 0.0) for part in logs)
    assert float(front.noise) != float(left.noise)
    geometry = np.asarray(front.precision.geometry) + np.asarray(left.precision.geometry)
    assert np.abs(geometry).max() > 0
    np.testing.assert_allclose(both.precision.geometry, geometry, rtol=1e-3, atol=1e-5 * np.abs(geometry).max())
    # A view without an image takes the same program.
    batches, count = TrainBatches(Recording(log, log.frames)), scene_posterior._add_view._cache_size()
    view, blank = batches.batch(1).view, blank_batch(batches.batch(1).view, jnp.float32)
    assert jax.eval_shape(lambda: blank) == jax.eval_shape(lambda: batches.batch(1))
    alone, expected = view_precision(model, view, both.noise, jnp.float32), view_information(model, view, both.noise)
    assert scene_posterior._add_view._cache_size() == count and np.abs(expected.geometry).max() > 0
    for values, reference in zip(jax.tree.leaves(alone), map(np.asarray, jax.tree.leaves(expected)), strict=True):
        np.testing.assert_allclose(values, reference, rtol=1e-4, atol=1e-5 * np.abs(reference).max())
