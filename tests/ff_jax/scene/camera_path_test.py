"""The path of the cameras: its neighbors, and its roughness against the definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ff_jax.scene.camera_path import ROTATION_ARM, camera_roughness, make_path
from tests.random_inputs import seeded_rng

SPEED = np.array([9.0, 1.0, 0.2])  # m/s


def street(rng, times):
    """Make camera_from_world of a camera that drives straight and rotates at a constant rate."""
    poses = np.tile(np.eye(4), (len(times), 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(times[:, None] * rng.normal(0, 0.2, 3)).as_matrix()
    poses[:, :3, 3] = times[:, None] * SPEED + rng.normal(size=3)
    return np.linalg.inv(poses)


@pytest.fixture
def drive():
    rng = seeded_rng()
    times = np.cumsum(rng.uniform(0.05, 0.2, 9))
    return rng, times, street(rng, times)


def test_neighbors_are_of_the_same_camera_and_next_in_time(drive):
    _, times, poses = drive
    order = np.array([4, 0, 8, 2, 6, 1, 3, 5, 7])
    path = make_path(poses[order], times[order], ["b" if i % 2 else "a" for i in order])
    for row, i in enumerate(order):
        before, after = order[path.before[row]], order[path.after[row]]
        assert before == (i - 2 if i >= 2 else i) and after == (i + 2 if i + 2 <= 8 else i)
        assert bool(path.inner[row]) == (2 <= i <= 6)


def test_a_steady_drive_is_smooth_at_uneven_times(drive):
    _, times, poses = drive
    path = make_path(poses, times, ["a"] * 9)
    assert float(camera_roughness(path, jnp.zeros((9, 6)))) < 1e-8


def test_roughness_is_the_distance_from_the_straight_path(drive):
    rng, times, poses = drive
    offset = rng.normal(0, [0.02] * 3 + [0.1] * 3)
    deltas = np.zeros((9, 6))
    deltas[4] = offset
    path = make_path(poses, times, ["a"] * 9)
    span = np.diff(times)
    # A shift of one image bends the path there by the whole shift, and at its neighbors in proportion.
    weights = [span[2] / (span[2] + span[3]), 1.0, span[5] / (span[4] + span[5])]
    squared = (np.sum(offset[3:] ** 2) + ROTATION_ARM**2 * np.sum(offset[:3] ** 2)) * np.sum(np.square(weights)) / 7
    moved = jnp.asarray(deltas, jnp.float32)
    assert float(camera_roughness(path, moved)) == pytest.approx(squared, rel=0.1)
    only_shift = moved.at[:, :3].set(0)
    expected = np.sum(offset[3:] ** 2) * np.sum(np.square(weights)) / 7
    assert float(camera_roughness(path, only_shift)) == pytest.approx(expected, rel=1e-3)


def test_a_step_against_the_gradient_reduces_the_error_and_gradients_are_finite(drive):
    rng, times, poses = drive
    path = make_path(poses, times, ["a"] * 9)
    gradient = jax.jit(jax.grad(lambda deltas: camera_roughness(path, deltas)))
    wrong = jnp.asarray(rng.normal(0, 0.02, (9, 6)), jnp.float32)
    assert float(jnp.vdot(gradient(wrong), wrong)) > 0
    assert bool(jnp.isfinite(gradient(jnp.zeros((9, 6)))).all())
