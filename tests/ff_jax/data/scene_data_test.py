from dataclasses import replace

import numpy as np
import pytest

from ff_jax.data import scene_data
from tests.ff_jax.data import tiny
from tests.random_inputs import seeded_rng


@pytest.fixture
def scene(tmp_path):
    return tiny.make_scene(tmp_path)


def test_select_by_camera_split_and_time(scene):
    assert {f.camera for f in scene_data.select(scene, cameras=("b",)).frames} == {"b"}
    test_steps = scene_data.hold_out(scene, 2)
    assert {f.time_index for f in scene_data.select(test_steps, split="test").frames} == {1}
    late = scene_data.select(scene, start=0.1, stop=0.2)
    assert {f.time_index for f in late.frames} == {s.time_index for s in late.sweeps} == {1}
    assert [box.time_index for box in late.boxes] == [1]
    np.testing.assert_array_equal(late.world_from_ego, scene.world_from_ego)


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ({"cameras": ("c",)}, ("'c'", "a, b")),
        ({"split": "val"}, ("split='val'", "train, test")),
        ({"start": 5.0}, ("start=5.0", "tiny")),
        ({"split": "test"}, ("split='test'",)),
    ],
)
def test_select_says_what_does_not_exist(scene, expected, words):
    with pytest.raises(ValueError) as error:
        scene_data.select(scene, **expected)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("every", [2, 3, 8])
def test_hold_out_takes_whole_steps_between_training_steps(scene, every):
    template = scene.frames[0]
    frames = tuple(replace(template, time_index=i, camera=c) for i in range(20) for c in "ab")
    test_steps = scene_data.hold_out(replace(scene, frames=frames), every)
    test = {f.time_index for f in test_steps.frames if f.split == "test"}
    train = {f.time_index for f in test_steps.frames if f.split == "train"}
    assert not test & train and len(test) == len(range(every // 2, 20, every))
    assert min(train) == 0 and all(np.diff(sorted(test)) == every)
    with pytest.raises(ValueError, match="every=1"):
        scene_data.hold_out(scene, 1)


def test_a_test_camera_is_not_trained_on(scene):
    held_out = scene_data.hold_out_cameras(scene, ("b",))
    assert {(f.camera, f.split) for f in held_out.frames} == {("a", "train"), ("b", "test")}
    for cameras, words in ((("c",), "no camera 'c'; it has a, b"), (("a", "b"), "are all training cameras")):
        with pytest.raises(ValueError, match=words):
            scene_data.hold_out_cameras(scene, cameras)


def test_tracks_and_what_moves(scene):
    boxes = [scene_data.Box("p", "vehicle", i, tiny.pose(5, 0.1 * i), np.ones(3)) for i in (2, 0, 1)]
    scene = replace(scene, boxes=scene.boxes + tuple(boxes))
    assert [box.time_index for box in scene_data.tracks(scene)["p"]] == [0, 1, 2]
    assert scene_data.moving_tracks(scene) == {"7"}
    assert scene_data.moving_tracks(scene, min_path=0.15) == {"7", "p"}
    assert {box.track_id for box in scene_data.boxes_at(scene, 1)} == {"7", "p"}


def test_ego_axes_of_a_front_camera():
    from scipy.spatial.transform import Rotation

    pose = tiny.pose(1, 2, 3)
    pose[:3, :3] = Rotation.random(rng=seeded_rng()).as_matrix()
    ego = scene_data.ego_from_front_camera(pose)
    right, down, forward = pose[:3, :3].T
    np.testing.assert_allclose(ego[:3, :3].T, [forward, -right, -down], atol=1e-12)
    np.testing.assert_allclose(ego[:3, 3], pose[:3, 3])


def test_inverse_and_transform_undo_each_other():
    from scipy.spatial.transform import Rotation

    rng = seeded_rng()
    pose = tiny.pose(*rng.normal(size=3))
    pose[:3, :3] = Rotation.random(rng=rng).as_matrix()
    points = rng.normal(size=(5, 3))
    back = scene_data.transform(scene_data.invert_rigid(pose), scene_data.transform(pose, points))
    np.testing.assert_allclose(back, points, atol=1e-12)
    np.testing.assert_allclose(scene_data.invert_rigid(pose), np.linalg.inv(pose), atol=1e-12)
