import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from experiments.studies.measures.robustness.writers.protobuf import tfrecord
from experiments.studies.measures.robustness.writers.waymo import Segment, matrix_bytes, vehicle
from ff_jax.data.formats import waymo_frame, waymo_v1
from ff_jax.data.scene_data import OPENCV_FROM_EGO, boxes_at
from ff_jax.data.validate import validate
from tests.random_inputs import seeded_rng

RECORD = "data/native/waymo/pvps_data_one_frame.tfrecord"


@pytest.fixture(scope="module")
def real(assets):
    return waymo_v1.load(assets / RECORD)


@pytest.mark.assets
def test_the_real_record_equals_the_frame_exported_from_it(assets, real):
    exported = waymo_frame.load(assets / "data/waymo_1frame_5cam")
    assert validate(real, decode=True) is real and real.name == exported.name
    np.testing.assert_array_equal(real.world_from_ego, exported.world_from_ego)
    others = {frame.camera: frame for frame in exported.frames}
    for frame in real.frames:
        other = others[frame.camera]
        np.testing.assert_array_equal(frame.K, other.K)
        np.testing.assert_array_equal(frame.distortion, other.distortion)
        # The pose of an image is the vehicle's at its exposure: here it stands still.
        np.testing.assert_allclose(frame.world_from_camera, other.world_from_camera, atol=1e-3)
        np.testing.assert_array_equal(frame.image.load(), other.image.load())
        assert (frame.width, frame.height) == (other.width, other.height) and 0.01 < frame.time < 0.1
        assert frame.readout.columns and np.abs(frame.readout.motion).max() < 1e-3
    others = {box.track_id: box for box in exported.boxes}
    for box in real.boxes:
        other = others.pop(box.track_id)
        np.testing.assert_allclose(box.world_from_object, other.world_from_object, atol=1e-9)
        np.testing.assert_array_equal(box.size, other.size)
        assert (box.category, box.num_points) == (other.category, other.num_points)
    assert not others and not real.sweeps  # the record's range images were stripped
    assert Counter(box.category for box in real.boxes)["vehicle"] == 37


@pytest.mark.assets
def test_a_record_of_another_kind_is_refused(assets):
    with pytest.raises(ValueError, match=r"motion_data.*: holds no Waymo Perception frames"):
        waymo_v1.load(assets / "data/native/waymo/motion_data_one_scenario.tfrecord")


@pytest.fixture(scope="module")
def segment_file(tmp_path_factory):
    segment = Segment(seeded_rng())
    path = tmp_path_factory.mktemp("waymo") / "segment-made.tfrecord"
    path.write_bytes(tfrecord([segment.record(i) for i in range(3)]))
    return path, segment, waymo_v1.load(path)


def test_a_segment_has_frames_boxes_and_lanes_where_it_says(segment_file):
    _, segment, scene = segment_file
    assert validate(scene, decode=True) is scene and scene.name == "made"
    np.testing.assert_allclose(scene.times, [0, 0.1, 0.2], atol=1e-6)
    here = segment.poses[0][:3, 3]
    assert (scene.world_from_ego[0, :3, 3] == 0).all()
    ahead = scene.frames[2].world_from_camera  # FRONT at the second time step
    expected = segment.poses[1] @ vehicle([0, 0, 0, 0.5, 0, 0]) @ segment.camera
    np.testing.assert_allclose(ahead[:3, 3], expected[:3, 3] - here, atol=1e-9)
    np.testing.assert_allclose(ahead[:3, [2, 0, 1]] * [1, -1, -1], expected[:3, :3], atol=1e-9)
    assert scene.frames[2].camera == "FRONT" and scene.frames[2].time == pytest.approx(0.14, abs=1e-6)
    frame_message = np.asarray(Image.open(io.BytesIO(segment.jpegs[2]))) / 255
    np.testing.assert_allclose(scene.frames[2].image.load(), frame_message, atol=1e-6)
    (box,) = boxes_at(scene, 2)
    expected = segment.poses[2] @ vehicle([0, 0, 0.4, 9, 2, 1])
    expected[:3, 3] -= here
    np.testing.assert_allclose(box.world_from_object, expected, atol=1e-9)
    assert box.size.tolist() == [4.5, 2, 1.6] and (box.category, box.num_points) == ("vehicle", 12)
    assert [lane.kind for lane in scene.lanes] == ["lane_line", "road_edge", "crosswalk"]
    np.testing.assert_allclose(scene.lanes[0].points, segment.line - here, atol=1e-9)
    np.testing.assert_allclose(scene.lanes[2].points, (segment.line - here)[[0, 1, 2, 0]], atol=1e-9)


def test_a_read_out_follows_the_vehicle(segment_file):
    """The rightmost column is read first, 24 ms before the pose of the image, the leftmost 24 ms after it."""
    _, segment, scene = segment_file
    frame, velocity = scene.frames[0], segment.velocity
    assert frame.readout.columns
    pose = segment.poses[0] @ vehicle([0, 0, 0, 0.5, 0, 0])
    camera_from_world = lambda pose: np.linalg.inv(pose @ segment.camera @ np.linalg.inv(OPENCV_FROM_EGO))
    for share in (-0.5, -0.2, 0.5):  # of the image, from its left
        shifted, seconds = pose.copy(), -share * 0.048
        turn = Rotation.from_rotvec(seconds * np.array([velocity[key] for key in ("w_x", "w_y", "w_z")]))
        shifted[:3, :3] = turn.as_matrix() @ pose[:3, :3]
        shifted[:3, 3] += seconds * np.array([velocity[key] for key in ("v_x", "v_y", "v_z")])
        expected = camera_from_world(shifted) @ np.linalg.inv(camera_from_world(pose))
        motion = share * frame.readout.motion
        np.testing.assert_allclose(Rotation.from_rotvec(motion[:3]).as_matrix(), expected[:3, :3], atol=1e-4)
        np.testing.assert_allclose(motion[3:], expected[:3, 3], atol=0.01)


def test_range_images_become_the_points_that_each_pixel_measured(segment_file):
    _, segment, scene = segment_file
    uniform = -1.2 + (np.arange(4) + 0.5) / 4 * 1.6
    for sweep, name, inclinations in zip(scene.sweeps[2:4], (1, 2), (segment.inclinations, uniform), strict=True):
        extrinsic, expected = segment.extrinsics[name], []
        for image in (segment.images[1], segment.second) if name == 1 else (segment.images[2],):
            for row, column in np.ndindex(4, 9):
                distance, intensity = image[row, column, :2].astype(float)
                if distance <= 0:
                    continue
                # Columns run clockwise from behind the vehicle, whichever way the LiDAR is mounted.
                azimuth = np.pi - 2 * np.pi * (column + 0.5) / 9 - np.arctan2(extrinsic[1, 0], extrinsic[0, 0])
                tilt = inclinations[3 - row]
                ray = [np.cos(tilt) * np.cos(azimuth), np.cos(tilt) * np.sin(azimuth), np.sin(tilt)]
                pose = vehicle(segment.pixel[row, column].astype(float)) if name == 1 else segment.poses[1]
                point = pose @ extrinsic @ np.array([*(distance * np.array(ray)), 1])
                expected.append([*(point[:3] - segment.poses[0][:3, 3]), intensity])
        expected = np.array(expected)
        np.testing.assert_allclose(sweep.load_world(), expected[:, :3], atol=1e-3)
        np.testing.assert_allclose(sweep.load()[1], expected[:, 3], rtol=1e-6)
        assert sweep.sensor == waymo_v1.LASERS[name]


def test_a_part_of_a_segment_starts_at_its_own_first_frame_and_keeps_the_map(segment_file):
    path, _, scene = segment_file
    part = validate(waymo_v1.load(path, (1, 3)), decode=True)
    assert len(part.frames) == 4 and len(part.boxes) == 2 and len(part.lanes) == 3
    shifted = scene.world_from_ego[1, :3, 3]
    np.testing.assert_allclose(part.world_from_ego[1, :3, 3], scene.world_from_ego[2, :3, 3] - shifted, atol=1e-6)
    np.testing.assert_allclose(part.lanes[0].points, scene.lanes[0].points - shifted, atol=1e-6)
    np.testing.assert_array_equal(part.sweeps[0].points.load(), scene.sweeps[2].points.load())
    with pytest.raises(ValueError, match="has the time steps 0:3, not 2:9"):
        waymo_v1.load(path, (2, 9))


def test_a_damaged_range_image_gives_one_sentence(segment_file, tmp_path):
    path, segment, _ = segment_file
    blob = bytearray(matrix_bytes(segment.images[2]))
    record = segment.record(0)
    blob[-20] ^= 255
    (tmp_path / "a.tfrecord").write_bytes(tfrecord([record.replace(matrix_bytes(segment.images[2]), bytes(blob))]))
    sweep = waymo_v1.load(tmp_path / "a.tfrecord").sweeps[1]
    with pytest.raises(ValueError, match=r"a\.tfrecord: a range image is damaged"):
        sweep.load()
    (tmp_path / "a.tfrecord").write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"a\.tfrecord: ends in record 2, 100 byte\(s\) too early"):
        waymo_v1.load(tmp_path / "a.tfrecord")
