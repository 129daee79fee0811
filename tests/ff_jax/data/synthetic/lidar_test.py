"""LiDAR sweeps against the renderer and the labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.synthetic import LidarPattern, render_street, rig_camera, simulate_lidar, vehicle_boxes
from tests.ff_jax.data.synthetic.conftest import HEIGHT, WIDTH

pytestmark = pytest.mark.slow

PATTERN = LidarPattern(beams=16, azimuths=240)


@pytest.fixture(scope="module")
def sweep():
    return jax.jit(lambda key, street, index: simulate_lidar(key, street, index, PATTERN))


@pytest.fixture(scope="module")
def render_depth():
    """Render depth alone: without colors the compiler has little left to do."""
    return jax.jit(lambda street, camera, time: render_street(street, camera, time, samples=1).depth)


def test_points_lie_on_rendered_surfaces(street, render_depth, sweep):
    got = sweep(jax.random.key(0), street, 4)
    camera = rig_camera(street, 4, "front", WIDTH, HEIGHT)
    # Look from the sensor itself, so that both see the same surfaces.
    pose = np.array(camera.world_from_camera)
    pose[:3, 3] = np.asarray(got.world_from_lidar)[:3, 3]
    camera_from_world = np.linalg.inv(pose)
    seen_from = camera.replace(camera_from_world=jnp.asarray(camera_from_world, jnp.float32))
    image = np.asarray(render_depth(street, seen_from, 0.4))
    points = np.asarray(got.points)[np.asarray(got.valid)]
    lidar = np.asarray(got.world_from_lidar)
    in_camera = (points @ lidar[:3, :3].T + lidar[:3, 3]) @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    K = np.asarray(camera.K)
    u, v = (K[k, k] * in_camera[:, k] / np.maximum(in_camera[:, 2], 1e-6) + K[k, 2] for k in range(2))
    ok = (in_camera[:, 2] > 1) & (u > 0) & (u < WIDTH) & (v > 0) & (v < HEIGHT)
    depth = image[v[ok].astype(int), u[ok].astype(int)]
    assert ok.sum() > 200
    assert np.mean(np.abs(depth - in_camera[ok, 2]) < 0.04 * in_camera[ok, 2] + 0.1) > 0.8


def test_ground_returns_are_on_the_ground(street, sweep):
    got = sweep(jax.random.key(1), street, 0)
    points = np.asarray(got.points)[np.asarray(got.valid) & (np.asarray(got.instance) == 0)]
    height = points[:, 2] + PATTERN.mount[2]
    road = (np.abs(points[:, 1]) < 1.5) & (points[:, 0] > 2) & (points[:, 0] < 15)
    assert road.sum() > 20
    assert np.abs(height[road]).max() < 6 * PATTERN.range_noise


def test_boxes_contain_the_points_of_their_vehicle(street, sweep):
    num_points = 0
    for index in (0, 12):
        got, labels = sweep(jax.random.key(2), street, index), vehicle_boxes(street, index)
        lidar, instance = np.asarray(got.world_from_lidar), np.asarray(got.instance)
        for track in np.unique(instance[instance > 0]):
            points = np.asarray(got.points)[instance == track] @ lidar[:3, :3].T + lidar[:3, 3]
            slot = int(np.flatnonzero(np.asarray(labels.track_id) == track)[0])
            assert bool(labels.valid[slot])
            pose = np.asarray(labels.world_from_object[slot])
            local = (points - pose[:3, 3]) @ pose[:3, :3]
            excess = np.abs(local) - np.asarray(labels.size[slot]) / 2
            assert excess.max() < 6 * PATTERN.range_noise
            num_points += len(points)
    assert num_points > 50


def test_sweep_is_random_by_key_alone_and_loses_some_returns(street, sweep):
    first, again, other = (sweep(jax.random.key(k), street, 1) for k in (3, 3, 4))
    np.testing.assert_array_equal(first.points, again.points)
    assert (np.asarray(first.valid) != np.asarray(other.valid)).any()
    both = np.asarray(first.valid & other.valid)
    step = np.linalg.norm(np.asarray(first.points - other.points)[both], axis=-1)
    assert 0.5 * PATTERN.range_noise < step.mean() < 3 * PATTERN.range_noise
    assert 0.2 < np.asarray(first.valid).mean() < 0.95
    assert float(first.intensity.min()) >= 0 and float(first.intensity.max()) <= 1


def test_everything_that_a_scanner_returns_is_finite(street, sweep):
    for index in (0, street.times.shape[0] - 1):
        for leaf in jax.tree.leaves(sweep(jax.random.key(index), street, index)):
            assert np.isfinite(np.asarray(leaf)).all()


def test_beams_are_unevenly_spaced_and_increasing():
    elevation = np.rad2deg(LidarPattern().elevations())
    steps = np.diff(elevation)
    assert (steps > 0).all() and steps.max() > 2 * steps.min()
    np.testing.assert_allclose(elevation[[0, -1]], [-25.0, 13.0], atol=1e-6)
