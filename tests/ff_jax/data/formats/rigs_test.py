import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ff_jax.data.formats.rigs import find_drives
from ff_jax.data.scene_data import invert_rigid
from tests.random_inputs import seeded_rng


def path(count, start=(0.0, 0, 0), step=(0, 0, 1.0), noise=0.0):
    """Make the poses of a camera that drives along z."""
    poses = np.tile(np.eye(4), (count, 1, 1))
    rng = seeded_rng()
    poses[:, :3, 3] = np.array(start) + np.arange(count)[:, None] * np.array(step) + rng.normal(0, noise, (count, 3))
    return poses


def steps(drive):
    return [sorted(step.values()) for step in drive.steps]


def test_cameras_of_a_rig_are_matched_by_stem_and_gaps_keep_their_time():
    left, right = path(5, noise=0.01), path(5, start=(0.5, 0, 0), noise=0.01)
    poses = {f"left/{i:04d}.png": left[i] for i in range(5) if i != 3}
    poses |= {f"right/{i:04d}.jpg": right[i] for i in (1, 2, 3)}
    (drive,) = find_drives(poses)
    expected = [["left/0000.png"], ["left/0001.png", "right/0001.jpg"], ["left/0002.png", "right/0002.jpg"]]
    assert steps(drive) == [*expected, ["right/0003.jpg"], ["left/0004.png"]]
    front = np.stack([drive.front_pose(i)[:3, 3] for i in range(5)])
    np.testing.assert_allclose(front, left[:, :3, 3], atol=0.1)  # at step 3 from the right camera


@pytest.mark.parametrize("names", ["{0}/{0}_{1}.png", "{0}/frame_{1}.png", "rig/{0}/{1}.png"])
def test_what_all_names_of_a_camera_begin_with_is_ignored(names):
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("y", 90, degrees=True).as_matrix()
    front = path(12)
    poses = {
        names.format(camera, i): front[i] @ place
        for i in range(12)
        for camera, place in (("cam0", np.eye(4)), ("cam1", turn))
    }
    (drive,) = find_drives(poses)
    assert steps(drive) == [[names.format("cam0", i), names.format("cam1", i)] for i in range(12)]
    np.testing.assert_allclose(drive.front_from_camera[list(drive.front_from_camera)[1]], turn, atol=1e-12)


BACK = path(4, start=(3.0, 0, 9), step=(0, 0, -1.0)) @ np.diag([-1.0, 1, -1, 1])


@pytest.mark.parametrize(
    ("first", "other"),
    [(0, BACK), (0, path(4, step=(0, 0, 5.0))), (0, path(4, start=(84.0, 0, 0))), (4, path(4)), (3, path(4))],
    ids=["the way back", "another speed", "another street", "no name matches", "one name matches"],
)
def test_folders_that_do_not_match_are_drives_of_their_own(first, other):
    poses = {f"a/{i:02d}.png": pose for i, pose in enumerate(path(4))}
    poses |= {f"b/{i + first:02d}.png": pose for i, pose in enumerate(other)}
    drives = find_drives(poses)
    assert [(drive.front, len(drive.steps)) for drive in drives] == [("a", 4), ("b", 4)]
    for drive in drives:
        for i, step in enumerate(drive.steps):
            (name,) = step.values()
            np.testing.assert_allclose(drive.front_pose(i) @ invert_rigid(poses[name]), np.eye(4), atol=1e-12)


def test_names_without_zeros_are_in_natural_order():
    poses = {f"f{i}.png": pose for i, pose in enumerate(path(12))}
    (drive,) = find_drives(dict(reversed(poses.items())))
    assert steps(drive) == [[f"f{i}.png"] for i in range(12)]
