import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial import cKDTree

from ff_jax.data.formats import av2
from ff_jax.data.formats.common import read_columns
from ff_jax.data.points.visibility import inside_box
from ff_jax.data.scene_data import boxes_at, invert_rigid, transform
from ff_jax.data.validate import validate

pytest.importorskip("pyarrow")
LOG = "data/native/av2/sensor/val/7fab2350-7eaf-3b7e-a39d-6937a4c1bede"


@pytest.fixture(scope="module")
def log(assets, tmp_path_factory) -> Path:
    """The real log with images of one color that the test writes where the data set keeps its own.

    The piece in hand has no images; their times are those at which the log has poses of the vehicle.
    """
    path = tmp_path_factory.mktemp("av2") / "log"
    shutil.copytree(assets / LOG, path, copy_function=os.symlink)
    for folder in path.rglob("*/"):
        folder.chmod(0o755)
    (path).chmod(0o755)
    stamps = sorted(int(file.stem) for file in (path / "sensors/lidar").glob("*.feather"))
    with_pose = read_columns(path / av2.POSES, ("timestamp_ns",))["timestamp_ns"]
    table = read_columns(path / "calibration/intrinsics.feather", ("sensor_name", "width_px", "height_px"))
    for name, width, height in zip(*table.values(), strict=True):
        folder = path / "sensors/cameras" / name
        folder.mkdir(parents=True)
        Image.new("RGB", (int(width), int(height)), (90, 120, 60)).save(folder / "image.jpg")
        for stamp in with_pose[(with_pose > stamps[0] - 60_000_000) & (with_pose < stamps[-1] + 60_000_000)][::3]:
            (folder / f"{stamp}.jpg").symlink_to(folder / "image.jpg")
    return path


@pytest.fixture(scope="module")
def scene(log):
    return av2.load(log)


@pytest.mark.assets
def test_a_log_without_images_gives_one_sentence(assets, tmp_path):
    with pytest.raises(ValueError, match=r"sensors/cameras holds no images of ring cameras"):
        av2.load(assets / LOG)
    with pytest.raises(ValueError, match=r"sensors/lidar holds no sweeps"):
        av2.load(tmp_path)
    (tmp_path / "sensors/lidar").mkdir(parents=True)
    (tmp_path / "sensors/lidar/5.feather").write_bytes(b"")
    with pytest.raises(ValueError, match=r"city_SE3_egovehicle\.feather: no such file"):
        av2.load(tmp_path)
    (tmp_path / av2.POSES).write_bytes((assets / LOG / av2.POSES).read_bytes()[:500])
    with pytest.raises(ValueError, match=r"city_SE3_egovehicle\.feather: cannot be read \(.*\)"):
        av2.load(tmp_path)


@pytest.mark.assets
def test_the_log_is_valid(scene):
    assert validate(scene) is scene
    assert len(scene.cameras) == 7 and all(name.startswith("ring_") for name in scene.cameras)
    assert len(scene.frames) == 14 and len(scene.sweeps) == len(scene.times) == 2
    assert max(abs(f.time - scene.times[f.time_index]) for f in scene.frames) < 0.03


@pytest.mark.assets
def test_the_rig_looks_around_and_the_vehicle_drives_forward(scene):
    step = scene.world_from_ego[0, :3, :3].T @ (scene.world_from_ego[1] - scene.world_from_ego[0])[:3, 3]
    assert step[0] > 0.03 and np.abs(step[1:]).max() < 0.01  # it has almost come to a stop
    nearest = {f.camera: invert_rigid(scene.world_from_ego[0]) @ f.world_from_camera for f in scene.frames[:7]}
    assert nearest["ring_front_center"][0, 2] > 0.99 and nearest["ring_side_left"][1, 2] > 0.8
    assert nearest["ring_rear_right"][0, 2] < -0.5 and nearest["ring_rear_right"][1, 2] < -0.2
    # Cameras stand upright: y points down.
    assert all(pose[2, 1] < -0.95 for pose in nearest.values())


@pytest.mark.slow
@pytest.mark.assets
def test_boxes_hold_the_points_that_they_count(scene):
    for sweep in scene.sweeps:
        world = sweep.load_world()
        world = world[np.linalg.norm(world - scene.world_from_ego[0, :3, 3], axis=1) < 60]
        boxes = [box for box in boxes_at(scene, sweep.time_index) if box.num_points >= 100]
        actual = [inside_box(box, world, 0.0).sum() for box in boxes]
        assert len(boxes) > 10
        np.testing.assert_allclose(actual, [box.num_points for box in boxes], rtol=0.1, atol=5)


@pytest.mark.assets
def test_the_map_lies_on_the_ground_that_the_lidar_sees(scene):
    points = scene.sweeps[0].load_world()
    kinds = {lane.kind for lane in scene.lanes}
    assert kinds == {"lane_line", "road_edge", "crosswalk"}
    vertices = np.concatenate([lane.points for lane in scene.lanes])
    around = cKDTree(points[:, :2]).query_ball_point(vertices[:, :2], 0.5)
    # Cars and trees stand on some of them, so the lowest points count.
    heights = [points[near, 2].min() - z for near, z in zip(around, vertices[:, 2], strict=True) if len(near) > 5]
    assert len(heights) > 10 and np.abs(np.median(heights)) < 0.25
    for outline in (lane.points for lane in scene.lanes if lane.kind == "crosswalk"):
        sides = np.diff(outline[:, :2], axis=0)
        following = np.roll(sides, -1, 0)
        turns = np.sign(sides[:, 0] * following[:, 1] - sides[:, 1] * following[:, 0])
        assert np.array_equal(outline[0], outline[-1]) and len(set(turns)) == 1  # convex: no side crosses another


@pytest.mark.assets
def test_no_road_edge_crosses_the_way_of_the_vehicle(assets, scene):
    """The log drives on for 25 s beyond the two sweeps, from one drivable area into the next."""
    table = read_columns(assets / LOG / av2.POSES, ("timestamp_ns", "tx_m", "ty_m", "tz_m"))
    way = np.stack([table[key] for key in ("tx_m", "ty_m")], -1)[np.argsort(table["timestamp_ns"])]
    stamp = int(min(p.stem for p in (assets / LOG / "sensors/lidar").glob("*.feather")))
    way -= way[np.abs(np.sort(table["timestamp_ns"]) - stamp).argmin()]
    edges = np.concatenate([lane.points for lane in scene.lanes if lane.kind == "road_edge"])[:, :2]
    assert np.linalg.norm(way[-1] - way[0]) > 30
    assert np.linalg.norm(edges[:, None] - way[::20], axis=-1).min() > 1.0


@pytest.mark.assets
def test_points_are_in_the_frame_of_the_upper_lidar(assets, scene):
    sweep, pose = scene.sweeps[1], scene.world_from_ego[1]
    file = sorted((assets / LOG / "sensors/lidar").glob("*.feather"))[1]
    raw = np.stack(list(read_columns(file, ("x", "y", "z")).values()), -1).astype(float)
    np.testing.assert_allclose(transform(invert_rigid(pose), sweep.load_world().astype(float)), raw, atol=1e-3)
    np.testing.assert_allclose((invert_rigid(pose) @ sweep.world_from_lidar)[:3, 3], [1.35018, 0, 1.64042], atol=1e-6)
    assert 0 <= sweep.load()[1].min() and sweep.load()[1].max() <= 1
