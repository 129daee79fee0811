from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ff_jax.data.road import find_road, on_road
from ff_jax.data.scene_data import OPENCV_FROM_EGO, SparsePoints, transform
from tests.ff_jax.data import tiny
from tests.random_inputs import seeded_rng


@pytest.fixture
def scene(tmp_path):
    return tiny.make_scene(tmp_path)


@pytest.mark.parametrize("unit", [0.01, 1.0, 30.0])
def test_height_and_slope_are_found_among_other_points(scene, unit):
    """A road that ascends by 3 degrees, 1.6 below the cameras, and as many points of houses beside it."""
    rng = seeded_rng()
    x, y = rng.uniform(0, 40, 400), rng.uniform(-6, 6, 400)
    road = np.stack([x, y, rng.normal(0, 0.02, 400)], -1)
    houses = np.stack([rng.uniform(5, 40, 400), rng.choice([-7, 7], 400), rng.uniform(0, 6, 400)], -1)
    ground_from_ego = np.eye(4)
    ground_from_ego[:3, :3] = Rotation.from_euler("yx", [3, 1], degrees=True).as_matrix()
    ground_from_ego[2, 3] = 1.6
    points = transform(np.linalg.inv(ground_from_ego), np.concatenate([road, houses]))
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, 0, 3] = np.arange(3) * 0.1 * unit
    scene = replace(scene, points=SparsePoints(points * unit), world_from_ego=poses)
    found = find_road(scene)
    assert found.height == pytest.approx(1.6 * unit, rel=0.03)
    np.testing.assert_allclose(found.normal, ground_from_ego[2, :3], atol=0.01)


def test_without_a_road_the_remedy_is_named(scene):
    rng = seeded_rng()
    for points in (None, SparsePoints(rng.uniform(-20, 20, (2000, 3)))):
        with pytest.raises(ValueError, match=r"no road was found .* set \?scale="):
            find_road(replace(scene, points=points))


def test_points_on_the_road_are_found_below_every_position(scene):
    """The ego frame lies on the road, the cameras 1.5 m above it."""
    rng = seeded_rng()
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, 0, 3] = np.arange(3) * 8.0
    lift = np.eye(4)
    lift[2, 3] = 1.5
    frames = tuple(
        replace(frame, world_from_camera=poses[frame.time_index] @ lift @ np.linalg.inv(OPENCV_FROM_EGO))
        for frame in scene.frames
    )
    x, y = rng.uniform(0, 30, 600), rng.uniform(-6, 6, 600)
    road = np.stack([x, y, rng.normal(0, 0.01, 600)], -1)
    walls = np.stack([rng.uniform(0, 30, 400), rng.choice([-7, 7], 400), rng.uniform(0.3, 6, 400)], -1)
    found = on_road(replace(scene, frames=frames, world_from_ego=poses), np.concatenate([road, walls]))
    assert found[:600].mean() > 0.99 and not found[600:].any()
    with pytest.raises(ValueError, match="no road was found"):
        on_road(scene, rng.uniform(-20, 20, (2000, 3)))
