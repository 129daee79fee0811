import numpy as np
import pytest

from tests.random_inputs import seeded_rng

pytest.importorskip("pyarrow")

import pyarrow as pa
from pyarrow import parquet

from experiments.studies.measures.robustness.writers.protobuf import tfrecord
from experiments.studies.measures.robustness.writers.waymo import Segment, vehicle
from ff_jax.data.formats import waymo_v1, waymo_v2
from ff_jax.data.formats.registry import open_source
from ff_jax.data.validate import validate

STAMP, NAME = "key.frame_timestamp_micros", "key.segment_context_name"
STAMPS = [100_000_000 + 100_000 * i for i in range(3)]


def write(root, segment):
    """Write the segment as version 2 does: a file of each component, rows of all times, small groups of rows."""
    put(
        root,
        "vehicle_pose",
        "VehiclePose",
        [{STAMP: t, "world_from_vehicle.transform": row(p)} for t, p in pose_at(segment)],
    )
    calibration = dict(zip(waymo_v2.INTRINSICS, [20.0, 21, 12, 8, 0.01, 0.02, 0.001, 0.002, 0.003], strict=True))
    cameras = [
        {"key.camera_name": k, "extrinsic.transform": row(segment.camera), "width": 24, "height": 16}
        | {"rolling_shutter_direction": 4}
        | {f"intrinsic.{key}": value for key, value in calibration.items()}
        for k in (1, 2)
    ]
    put(root, "camera_calibration", "CameraCalibration", cameras)
    images = [
        {
            STAMP: STAMPS[i],
            "key.camera_name": k,
            "image": segment.jpegs[2 * i + k - 1],
            "pose.transform": row(segment.poses[i] @ vehicle([0, 0, 0, 0.5, 0, 0])),
            "pose_timestamp": 100.04 + 0.1 * i,
        }
        | {column: segment.velocity[key] for key, column in waymo_v2.VELOCITY.items()}
        | {column: segment.times[key] for key, column in waymo_v2.SHUTTER.items()}
        for k in (2, 1)
        for i in range(3)
    ]
    put(root, "camera_image", "CameraImage", images)
    lasers = [
        {
            "key.laser_name": k,
            "extrinsic.transform": row(segment.extrinsics[k]),
            "beam_inclination.min": -1.2,
            "beam_inclination.max": 0.4,
            "beam_inclination.values": segment.inclinations.tolist() if k == 1 else None,
        }
        for k in (1, 2)
    ]
    put(root, "lidar_calibration", "LiDARCalibration", lasers)
    ranges = [
        {STAMP: t, "key.laser_name": k}
        | image("range_image_return1", segment.images[k])
        | image("range_image_return2", segment.second if k == 1 else None)
        for t in STAMPS
        for k in (1, 2)
    ]
    put(root, "lidar", "LiDAR", ranges)
    poses = [{STAMP: t, "key.laser_name": 1} | image("range_image_return1", segment.pixel) for t in STAMPS]
    put(root, "lidar_pose", "LiDARPose", poses)
    box = {"box.center.x": 9.0, "box.center.z": 1.0, "box.size.x": 4.5, "box.size.y": 2.0, "box.size.z": 1.6}
    box |= {"box.heading": 0.4, "type": 1, "num_lidar_points_in_box": 30, "num_top_lidar_points_in_box": 12}
    labels = [{STAMP: t, "key.laser_object_id": "car", "box.center.y": float(i)} | box for i, t in enumerate(STAMPS)]
    put(root, "lidar_box", "LiDARBox", labels)


def pose_at(segment):
    return zip(STAMPS, segment.poses, strict=True)


def row(matrix):
    return matrix.ravel().tolist()


def image(column, values):
    values = (None, None) if values is None else (values.ravel().tolist(), list(values.shape))
    return dict(zip((f"{column}.values", f"{column}.shape"), values, strict=True))


def put(root, folder, component, records):
    named = [
        {NAME: "made"} | {k if k.startswith("key.") else f"[{component}Component].{k}": v for k, v in record.items()}
        for record in records
    ]
    table = pa.Table.from_pylist(named)
    for i, field in enumerate(table.schema):
        if field.name.endswith(".values") and "range_image" in field.name:
            table = table.set_column(i, field.name, table.column(i).cast(pa.list_(pa.float32())))
        if field.name.endswith(".shape"):
            table = table.set_column(i, field.name, table.column(i).cast(pa.list_(pa.int32(), 3)))
    (root / folder).mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, root / folder / "made.parquet", row_group_size=2)


@pytest.fixture(scope="module")
def segment_folder(tmp_path_factory):
    """One segment in both versions."""
    root, segment = tmp_path_factory.mktemp("waymo"), Segment(seeded_rng())
    write(root, segment)
    (root / "made.tfrecord").write_bytes(tfrecord([segment.record(i) for i in range(3)]))
    return root, validate(waymo_v2.load(root), decode=True), waymo_v1.load(root / "made.tfrecord")


def test_both_versions_of_a_segment_are_the_same_but_for_the_map(segment_folder):
    _, second, first = segment_folder
    assert second.name == first.name == "made" and second.lanes == ()
    np.testing.assert_allclose(second.times, first.times, atol=1e-9)
    np.testing.assert_allclose(second.world_from_ego, first.world_from_ego, atol=1e-9)
    for a, b in zip(second.frames, first.frames, strict=True):
        assert (a.camera, a.time_index, a.width, a.height, a.exposure_id) == (
            b.camera,
            b.time_index,
            b.width,
            b.height,
            b.exposure_id,
        )
        assert a.time == pytest.approx(b.time, abs=1e-6)
        for key in ("K", "distortion", "world_from_camera"):
            np.testing.assert_allclose(getattr(a, key), getattr(b, key), atol=1e-9)
        np.testing.assert_array_equal(a.image.load(), b.image.load())
        np.testing.assert_allclose(a.readout.motion, b.readout.motion, atol=1e-9)
        assert a.readout.columns and b.readout.columns
    for a, b in zip(second.sweeps, first.sweeps, strict=True):
        assert (a.sensor, a.time_index) == (b.sensor, b.time_index)
        np.testing.assert_allclose(a.world_from_lidar, b.world_from_lidar, atol=1e-9)
        np.testing.assert_array_equal(a.points.load(), b.points.load())
    for a, b in zip(second.boxes, first.boxes, strict=True):
        assert (a.track_id, a.category, a.time_index, a.num_points) == (
            b.track_id,
            b.category,
            b.time_index,
            b.num_points,
        )
        np.testing.assert_allclose(a.world_from_object, b.world_from_object, atol=1e-9)
        np.testing.assert_array_equal(a.size, b.size)


def test_segments_are_named_in_the_source(segment_folder):
    root, _, _ = segment_folder
    assert len(open_source(f"{root}?segment=made&frames=1:3").frames) == 4
    with pytest.raises(ValueError, match=r"invalid \?segment=x: expected one of made"):
        open_source(f"{root}?segment=x")


def test_missing_and_damaged_components_give_one_sentence(tmp_path):
    segment = Segment(seeded_rng())
    write(tmp_path, segment)
    boxes = tmp_path / "lidar_box/made.parquet"
    whole = boxes.read_bytes()
    boxes.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"lidar_box/made\.parquet: cannot be read"):
        waymo_v2.load(tmp_path)
    (tmp_path / "lidar/made.parquet").unlink()
    boxes.unlink()
    scene = waymo_v2.load(tmp_path)
    assert scene.boxes == scene.sweeps == ()
    (tmp_path / "camera_calibration/made.parquet").unlink()
    with pytest.raises(ValueError, match=r"camera_calibration/made\.parquet: no such file"):
        waymo_v2.load(tmp_path)
    put(tmp_path, "vehicle_pose", "VehiclePose", [{STAMP: t, "other": 1} for t in STAMPS])
    with pytest.raises(ValueError, match=r"vehicle_pose/made\.parquet: has no column"):
        waymo_v2.load(tmp_path)
