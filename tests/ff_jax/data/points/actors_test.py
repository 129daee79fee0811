from dataclasses import replace

import numpy as np
import pytest

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.points.actors import actor_points, track_points
from ff_jax.data.scene_data import LidarSweep, invert_rigid, transform
from tests.ff_jax.data import tiny
from tests.random_inputs import seeded_rng


@pytest.fixture
def scene(tmp_path):
    return tiny.make_scene(tmp_path, seeded_rng())


@pytest.fixture
def rng():
    return seeded_rng()


def constant_sweep(xyz, step=0):
    rows = np.pad(np.asarray(xyz, np.float32), ((0, 0), (0, 1)))
    return LidarSweep(step, tiny.pose(step), Source("rays", lambda: rows))


def test_track_points_gather_an_object_in_its_own_frame(scene, rng):
    local = rng.uniform(-0.5, 0.5, (30, 3)) * scene.boxes[0].size
    sweeps = tuple(
        constant_sweep(transform(invert_rigid(tiny.pose(i)) @ box.world_from_object, local), i)
        for i, box in enumerate(scene.boxes)
    )
    xyz, rgb = track_points(replace(scene, sweeps=sweeps), ["7"], 1000, rng)[0]
    assert 30 <= len(xyz) <= 90 and rgb.shape == xyz.shape
    nearest = np.linalg.norm(xyz[:, None] - local[None], axis=-1).min(1)
    assert nearest.max() < 1e-4
    assert len(track_points(scene, ["nobody"], 10, rng)[0][0]) == 0


def test_actor_points_fill_the_box_with_and_without_lidar(scene, rng):
    for log in (scene, replace(scene, sweeps=())):
        xyz, rgb = actor_points(log, ["7"], 60, rng)[0]
        assert xyz.shape == rgb.shape == (60, 3)
        assert (np.abs(xyz) <= 0.5 * scene.boxes[0].size + 0.05).all() and (rgb >= 0).all() and (rgb <= 1).all()
    # No image at the time of its boxes: nothing is known of its color.
    blind = replace(scene, frames=tuple(replace(f, split="test") for f in scene.frames), sweeps=())
    np.testing.assert_array_equal(actor_points(blind, ["7"], 10, rng)[0][1], 0.5)
