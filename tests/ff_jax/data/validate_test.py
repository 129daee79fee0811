from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.scene_data import Box, Lane, Readout, SparsePoints
from ff_jax.data.validate import check, validate
from tests.ff_jax.data import tiny
from tests.random_inputs import seeded_rng


@pytest.fixture
def scene(tmp_path):
    return tiny.make_scene(tmp_path)


def with_frame(scene, number, **changes):
    frames = list(scene.frames)
    frames[number] = replace(frames[number], **changes)
    return replace(scene, frames=tuple(frames))


def with_sweep(scene, points, **changes):
    return replace(scene, sweeps=(replace(scene.sweeps[0], points=Source("rays", lambda: points), **changes),))


def with_box(scene, **changes):
    return replace(scene, boxes=(scene.boxes[0], replace(scene.boxes[1], **changes)))


def message_of(scene, **options):
    with pytest.raises(ValueError) as error:
        validate(scene, **options)
    return str(error.value)


def test_a_good_scene_passes(scene):
    assert validate(scene, decode=True) is scene


def bad_K(value, *at):
    K = tiny.K.copy()
    K[at] = value
    return K


SCALED = tiny.pose(1.0) @ np.diag([2.0, 2, 2, 1])
MIRRORED = tiny.pose(1.0) @ np.diag([1.0, -1, 1, 1])
BROKEN = np.full((4, 4), np.nan)

FRAMES = [
    ({"split": "val"}, "split = 'val'; use one of train, test"),
    ({"time_index": 3}, "time index 3 is outside 0..2"),
    ({"time_index": -1}, "time index -1 is outside 0..2"),
    ({"time": 7.5}, "time = 7.5 is far from 0.1 s"),
    ({"time": float("nan")}, "time = nan"),
    ({"camera": ""}, "has no name"),
    ({"camera": "a"}, "duplicate train frame of camera 'a' at time index 1"),
    ({"exposure_id": -2}, "exposure_id = -2 is negative"),
    ({"distortion": np.zeros(4)}, "distortion = [0.0, 0.0, 0.0, 0.0]; use 5"),
    ({"distortion": np.array([0, np.inf, 0, 0, 0])}, "distortion = [0.0, inf, 0.0, 0.0, 0.0]"),
    ({"distortion": np.array([50.0, 0, 0, 0, 0])}, "leaves 10% of the image"),
    ({"distortion": np.array([-9.0, 0, 0, 0, 0])}, "of the image (less than 50%)"),
    ({"exposure_id": 10**9}, "exposure_id = 1000000000 is more than"),
    ({"camera": "a\nb"}, "the camera is named 'a\\nb'"),
    ({"readout": Readout(np.array([0, 0, 0, 1e3, 0, 0]))}, "exceeds 1 rad or 10 m"),
    ({"K": bad_K(-20.0, 0, 0)}, "fx = -20.0 px does not fit an image of 24x16"),
    ({"K": bad_K(2000.0, 1, 1)}, "fy = 2000.0 px does not fit"),
    ({"K": bad_K(40.0, 0, 2)}, "principal point (40.0, 8.0) is outside"),
    ({"K": bad_K(3.0, 0, 1)}, "rectify"),
    ({"K": bad_K(2.0, 2, 2)}, "is not [[fx, 0, cx]"),
    ({"K": bad_K(np.nan, 0, 0)}, "K has a value that is not finite"),
    ({"width": 0}, "the image size is 0x16"),
    ({"width": 48, "height": 32}, "is 24x16, the frame says 48x32"),
    ({"world_from_camera": SCALED}, "world_from_camera is not rigid (R^T R differs from I by 3"),
    ({"world_from_camera": MIRRORED}, "det -1"),
    ({"world_from_camera": BROKEN}, "world_from_camera has a value that is not finite"),
    ({"world_from_camera": tiny.pose(500.0)}, "the camera is 499.0 m from the ego vehicle"),
    ({"masks": {"ego": Source("m", lambda: np.zeros((16, 24), np.float32))}}, "mask 'ego' does not exist"),
]


@pytest.mark.parametrize(("changes", "words"), FRAMES, ids=[words[:30] for _, words in FRAMES])
def test_bad_frames_are_named_with_file_and_value(scene, changes, words):
    message = message_of(with_frame(scene, 3, **changes))
    assert words in message
    if "duplicate" not in words:
        assert "frame 3 (" in message and "b1.png" in message
    else:
        assert "a1.png" in message and "b1.png" in message


def test_missing_corrupt_and_truncated_images(scene):
    path = scene.frames[2].image.path
    path.write_text("not an image")
    message = message_of(scene)
    assert message.count("\n") == 1 and f"frame 2 (a, time index 1, {path}): image: {path}: cannot be" in message
    Image.fromarray(seeded_rng().integers(0, 256, (16, 24, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:600])
    assert "cannot be read" in message_of(scene, decode=True)
    path.unlink()
    assert f"{path}: no such file" in message_of(scene)


def test_a_mask_of_another_size(scene):
    Image.fromarray(np.zeros((8, 12), np.uint8)).save(scene.frames[1].masks["sky"].path)
    message = message_of(scene)
    assert "frame 1 (b" in message and "sky mask" in message and "12x8" in message and "24x16" in message


def test_computed_pixels_are_checked_when_decoding(scene):
    bright = np.full((16, 24, 3), 2.0, np.float32)
    invalid = with_frame(scene, 0, image=Source("sun", lambda: bright))
    assert validate(invalid) is invalid
    assert "from 2.0 to 2.0" in message_of(invalid, decode=True)
    invalid = with_frame(scene, 0, image=Source("sun", lambda: bright[:3]))
    assert "(3, 24, 3), expected (16, 24, 3)" in message_of(invalid, decode=True)


POINTS = np.ones((5, 4), np.float32)
SWEEPS = [
    (np.zeros((0, 4), np.float32), {}, "it has no points"),
    (np.full_like(POINTS, np.nan), {}, "none of 5 LiDAR points is finite"),
    (POINTS * 1e5, {}, "none of 5 LiDAR points is finite and within 2000 m"),
    (POINTS[:, :3], {}, "have shape (5, 3); expected (N, 4)"),
    (POINTS, {"world_from_lidar": SCALED}, "world_from_lidar is not rigid"),
    (POINTS, {"world_from_lidar": tiny.pose(90.0)}, "the LiDAR is 90.0 m from the ego vehicle"),
    (POINTS, {"sensor": " "}, "the sensor has no name"),
    (POINTS, {"time_index": 9}, "time index 9 is outside 0..2"),
]


@pytest.mark.parametrize(("points", "changes", "words"), SWEEPS, ids=[words[:25] for *_, words in SWEEPS])
def test_bad_sweeps(scene, points, changes, words):
    message = message_of(with_sweep(scene, points, **changes), decode=True)
    assert "sweep 0 (" in message and "rays" in message and words in message


BOXES = [
    ({"size": np.array([4.0, 0, 1])}, "size = [4.0, 0.0, 1.0]"),
    ({"size": np.array([4.0, np.nan, 1])}, "size = [4.0, nan, 1.0]"),
    ({"size": np.array([4.0, 2, 1e9])}, "size = [4.0, 2.0, 1000000000.0]"),
    ({"world_from_object": tiny.pose(1e6)}, "the box is 999999.0 m from the ego vehicle"),
    ({"track_id": ""}, "the track has no name"),
    ({"category": "car"}, "category = 'car'; use one of vehicle"),
    ({"num_points": -5}, "num_points = -5"),
    ({"time_index": 5}, "time index 5 is outside"),
    ({"time_index": 0}, "duplicate box of track '7' at time index 0"),
    ({"world_from_object": SCALED}, "world_from_object is not rigid"),
]


@pytest.mark.parametrize(("changes", "words"), BOXES, ids=[words[:25] for _, words in BOXES])
def test_bad_boxes(scene, changes, words):
    message = message_of(with_box(scene, **changes))
    assert (words in message and "box 1 (" in message) or "'7'" in message


LINE = np.array([[0.0, 1, 0], [9, 1, 0]])
REST = [
    ({"times": np.array([0.0, 0.2, 0.1])}, "times[2] = 0.1 does not follow 0.2"),
    ({"times": np.array([0.0, 0.1, np.nan])}, "times[2] = nan"),
    ({"times": np.array([0.0, 0.1])}, "world_from_ego has 3 poses for 2 times"),
    ({"world_from_ego": np.stack([tiny.pose(0), SCALED, tiny.pose(2)])}, "world_from_ego[1]: the pose is not rigid"),
    ({"world_from_ego": np.stack([tiny.pose(4e5)] * 3)}, "reaches 400000 m from the origin"),
    ({"frames": ()}, "frames: there are none"),
    ({"lanes": (Lane("curb", LINE),)}, "lane 0: kind = 'curb'; use one of lane_line"),
    ({"lanes": (Lane("road_edge", LINE[:1]),)}, "lane 0: it has 1 point(s)"),
    ({"lanes": (Lane("road_edge", np.full((2, 3), np.inf)),)}, "lane 0: point 0 is not finite"),
    ({"points": SparsePoints(np.full((2, 3), np.nan))}, "sparse points: point 0 is not finite"),
    ({"lanes": (Lane("road_edge", LINE * 1e9),)}, "lane 0: point 0 = [0.0, 1000000000.0, 0.0] is more than 40000 m"),
    ({"points": SparsePoints(LINE * 1e30)}, "sparse points: point 0 = [0.0, 1e+30, 0.0] is more than"),
    ({"times": np.array([0.0, 0.1, 1.6e9])}, "times[2] = 1600000000.0 is beyond"),
    ({"points": SparsePoints(LINE, LINE * 30)}, "rgb goes from 0.0 to 270.0"),
]


@pytest.mark.parametrize(("changes", "words"), REST, ids=[words[:25] for _, words in REST])
def test_bad_timelines_lanes_and_points(scene, changes, words):
    assert words in message_of(replace(scene, **changes))


def test_no_training_frame_and_repeated_sweep(scene):
    frames = tuple(replace(frame, split="test") for frame in scene.frames)
    assert "none has the split 'train'" in message_of(replace(scene, frames=frames))
    message = message_of(replace(scene, sweeps=(*scene.sweeps, scene.sweeps[1])))
    assert "duplicate sweep of 'lidar' at time index 1" in message


def test_test_frames_of_one_camera_may_stand_side_by_side(scene):
    def at(y):
        return tiny.pose(0, y) @ scene.frames[0].world_from_camera

    image = Source("render", lambda: np.zeros((16, 24, 3), np.float32))
    beside = [replace(scene.frames[0], split="test", world_from_camera=at(y), image=image) for y in (1.0, 2.0)]
    assert validate(replace(scene, frames=(*scene.frames, *beside)))
    message = message_of(replace(scene, frames=(*scene.frames, *beside, beside[1])))
    assert "duplicate test frame of camera 'a' at time index 0 at [0.0, 2.0, 0.0]" in message


def test_all_problems_come_in_one_error(scene):
    scene = with_frame(scene, 0, split="val", exposure_id=-1)
    scene = with_frame(scene, 5, K=bad_K(np.nan, 0, 0))
    box = Box("9", "tram", 0, tiny.pose(1), np.ones(3))
    scene = replace(scene, lanes=(Lane("curb", LINE),), boxes=(box,))
    message = message_of(scene)
    assert message.startswith("5 problem(s) in 'tiny':\n- ")
    assert all(line.endswith(".") for line in message.splitlines()[1:])


def test_one_image_of_two_frames_is_a_duplicate(scene):
    message = message_of(with_frame(scene, 4, image=scene.frames[2].image))
    assert f"duplicate image file {scene.frames[2].image.path}" in message


def test_invalid_lidar_points_are_dropped_with_a_count(scene, caplog):
    points = np.ones((8, 4), np.float32)
    points[1, 0], points[2, 2], points[5, 3] = np.inf, 1e6, np.nan
    bad = with_sweep(scene, points)
    assert validate(bad, decode=True) is bad
    xyz, _ = bad.sweeps[0].load()
    assert len(xyz) == 5 and np.isfinite(xyz).all()
    assert "dropped 3 of 8" in caplog.text and caplog.text.count("rays") == 1


def test_check_gives_the_first_problem_in_one_sentence(scene):
    bad = with_frame(with_frame(scene, 0, split="val"), 1, exposure_id=-1)
    with pytest.raises(ValueError, match=r"^log: frame 0 \(a.*split = 'val'.* \(1 more problems\)\.$"):
        check(bad, "log")
    assert check(scene, "log") is scene
