"""Cameras of the viewer: at recorded times, between them, at lateral shifts, and with other fields of view."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ff_jax.viewer import RecordedPath, frame_size, pose_at, square_size, view_at
from tests.random_inputs import seeded_rng


def random_path(rng, count: int) -> RecordedPath:
    def poses() -> np.ndarray:
        out = np.tile(np.eye(4), (count, 1, 1))
        out[:, :3, :3] = Rotation.from_rotvec(rng.normal(0, 0.3, (count, 3))).as_matrix()
        out[:, :3, 3] = np.cumsum(rng.uniform(-1, 2, (count, 3)), 0)
        return out

    times = np.cumsum(rng.uniform(0.1, 0.3, count))
    return RecordedPath(times, poses(), poses(), np.arange(count), 1.0, 1.5)


@pytest.mark.parametrize("count", [1, 4])
def test_path_contains_recorded_poses_and_shifts_go_left(count):
    rng = seeded_rng()
    path = random_path(rng, count)
    for index, time in enumerate(path.times):
        np.testing.assert_allclose(pose_at(path, float(time)), path.poses[index], atol=1e-9)
        shift = float(rng.uniform(-5, 5))
        shifted = pose_at(path, float(time), shift)
        step = shifted[:3, 3] - path.poses[index, :3, 3]
        np.testing.assert_allclose(step, shift * path.egos[index, :3, 1], atol=1e-9)
        np.testing.assert_allclose(shifted[:3, :3], path.poses[index, :3, :3], atol=1e-9)
    np.testing.assert_allclose(pose_at(path, float(path.times[-1]) + 9), path.poses[-1], atol=1e-9)


def test_between_recorded_poses_the_camera_is_halfway():
    path = random_path(seeded_rng(), 2)
    middle = pose_at(path, float(path.times.mean()))
    np.testing.assert_allclose(middle[:3, 3], path.poses[:, :3, 3].mean(0), atol=1e-9)
    angles = [Rotation.from_matrix(path.poses[i, :3, :3].T @ middle[:3, :3]).magnitude() for i in (0, 1)]
    assert angles[0] == pytest.approx(angles[1], abs=1e-9)


def test_field_of_view_does_not_depend_on_the_pixels():
    rng = seeded_rng()
    path = random_path(rng, 3)
    fov, aspect, pose = float(rng.uniform(0.4, 1.5)), float(rng.uniform(0.5, 2.5)), path.poses[1]
    size = frame_size(300, aspect)
    view = view_at(path, pose, float(path.times[1]) + 0.01, fov, aspect, size)
    corner = np.array([aspect * np.tan(fov / 2), np.tan(fov / 2), 1.0])
    pixel = np.asarray(view.camera.K) @ corner
    np.testing.assert_allclose(pixel[:2], size, rtol=1e-5)
    np.testing.assert_allclose(view.camera.world_from_camera, pose, atol=1e-5)
    assert int(view.exposure) == 1 and int(view.frame) == int(view.rig) == -1


def test_sizes_are_few_and_near_the_requested_aspect():
    rng = seeded_rng()
    aspects = rng.uniform(1.2, 2.2, 200)
    sizes = {frame_size(640, float(aspect)) for aspect in aspects}
    assert len(sizes) <= 5 and all(width == 640 and height % 16 == 0 for width, height in sizes)
    for aspect in aspects:
        width, height = frame_size(640, float(aspect))
        assert abs(np.log(width / height / aspect)) < 0.2
    assert square_size(300, 1.5) == (300, 200) and square_size(300, 0.5) == (150, 300)
    assert frame_size(5, 1.0) == (16, 16)
