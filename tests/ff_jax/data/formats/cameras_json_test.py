import json

import numpy as np
import pytest

from ff_jax.data import lazy_arrays
from ff_jax.data.formats import cameras_json
from ff_jax.data.loader import load_image, scaled
from ff_jax.data.points.lidar import lidar_depth
from ff_jax.data.points.visibility import inside_box, project_points
from ff_jax.data.scene_data import boxes_at, invert_rigid, moving_tracks, select, transform
from ff_jax.data.validate import validate

FOLDERS = {"kitti_stereo": "kitti02_stereo_color", "kitti_lidar": "kitti_jam_color_lidar", "dgp": "ddad_dgp_6cam"}


def load(assets, kind, detect=False):
    return cameras_json.load(assets / "data" / FOLDERS[kind], None if detect else kind)


@pytest.mark.assets
@pytest.mark.parametrize("kind", FOLDERS)
def test_every_kind_is_found_and_valid_and_decodes_nothing_on_loading(assets, kind, monkeypatch):
    files, decode = [], lazy_arrays._decode
    monkeypatch.setattr(lazy_arrays, "_decode", lambda path: files.append(path) or decode(path))
    scene = load(assets, kind, detect=True)
    assert validate(scene) is scene and files == []
    frame = scene.frames[-1]
    image = load_image(frame)
    assert image.shape == (frame.height, frame.width, 3) and 0.1 < image.mean() < 0.9 and len(files) == 1
    assert scene.times[0] == 0


@pytest.mark.assets
@pytest.mark.parametrize("kind", FOLDERS)
def test_vehicles_drive_forward_on_a_level_road(assets, kind):
    ego = load(assets, kind).world_from_ego
    steps = np.einsum("tji,tj->ti", ego[:-1, :3, :3], np.diff(ego[:, :3, 3], axis=0))
    travel = steps.sum(0)
    assert travel[0] > 1 and np.abs(travel[1:]).max() < 0.1 * travel[0]


@pytest.mark.assets
def test_stereo_right_camera_is_half_a_meter_to_the_right_and_held_out(assets):
    scene = load(assets, "kitti_stereo")
    assert {(f.camera, f.split) for f in scene.frames} == {("left", "train"), ("right", "test")}
    for left, right in zip(scene.frames[::2], scene.frames[1::2], strict=True):
        ego_from_world = invert_rigid(scene.world_from_ego[left.time_index])
        offset = (ego_from_world @ right.world_from_camera)[:3, 3]
        np.testing.assert_allclose(offset, [0, -0.533, 0], atol=0.01)
        assert left.time_index == right.time_index and left.exposure_id == right.exposure_id


@pytest.mark.assets
def test_stereo_points_come_from_the_left_camera_alone(assets):
    scene = load(assets, "kitti_stereo")
    leaking = np.load(assets / "data" / FOLDERS["kitti_stereo"] / "stereo_points.npz")["xyz"]
    assert len(scene.points.xyz) == 3581 < len(leaking)
    visible = [project_points(f, scene.points.xyz.astype(float))[2] for f in select(scene, split="train").frames]
    assert np.any(visible, 0).mean() > 0.95


@pytest.mark.assets
@pytest.mark.parametrize("step", [0, 20, 45])
def test_kitti_lidar_falls_into_the_image_at_the_depth_of_sparse_points(assets, step):
    scene = load(assets, "kitti_lidar")
    frame, sweep = scene.frames[step], scene.sweeps[step]
    _, depth, inside = project_points(frame, sweep.load_world())
    assert inside.mean() > 0.8 and 2 < np.percentile(depth, 1) and np.percentile(depth, 99) < 90
    height = transform(invert_rigid(scene.world_from_ego[step]), sweep.load_world())[:, 2]
    assert -2.2 < np.percentile(height, 1) < -1.2  # the road, below the camera
    image = lidar_depth(scene, frame)
    pixels, reference, inside = project_points(frame, scene.points.xyz.astype(float))
    column, row = pixels[inside].astype(int).T
    depths, reference = image[row, column], reference[inside]
    both = depths > 0
    assert both.sum() > 20
    np.testing.assert_allclose(np.median(reference[both] / depths[both]), 1, atol=0.02)


@pytest.mark.assets
def test_dgp_rig_looks_all_around(assets):
    scene = load(assets, "dgp")
    ego_from_world = invert_rigid(scene.world_from_ego[0])
    first = [frame for frame in scene.frames if frame.time_index == 0]
    views = {f.camera: (ego_from_world @ f.world_from_camera)[:3, 2] for f in first}
    assert views["CAMERA_01"][0] > 0.99 and views["CAMERA_09"][0] < -0.9
    assert views["CAMERA_05"][1] > 0.3 > -0.3 > views["CAMERA_06"][1]
    assert views["CAMERA_07"][1] > 0.3 > -0.3 > views["CAMERA_08"][1]
    assert scene.num_exposures == len(scene.frames) == 18


@pytest.mark.assets
def test_dgp_boxes_hold_the_lidar_points_that_they_count(assets):
    scene = load(assets, "dgp")
    assert {box.category for box in scene.boxes} == {"vehicle"} and moving_tracks(scene)
    actual, counted = [], []
    for sweep in scene.sweeps:
        world = sweep.load_world()
        for box in boxes_at(scene, sweep.time_index):
            if box.num_points >= 50:
                actual.append(inside_box(box, world, 0.05).sum())
                counted.append(box.num_points)
    # The excerpt keeps every fifth point of the sweeps that the labels were counted on.
    assert len(actual) > 3 and min(actual) > 0
    assert 0.17 < sum(actual) / sum(counted) < 0.23


@pytest.mark.slow
@pytest.mark.assets
def test_dgp_lidar_reaches_every_camera(assets):
    scene = load(assets, "dgp")
    for frame in scaled(scene, 0.25).frames:
        depth = lidar_depth(scene, frame)
        assert depth.shape == (304, 484) and 0.005 < (depth > 0).mean() < 0.5
        assert 1 < np.median(depth[depth > 0]) < 60


def test_unknown_and_broken_folders(tmp_path):
    with pytest.raises(ValueError, match=r"cameras\.json: no such file"):
        cameras_json.load(tmp_path)
    (tmp_path / "cameras.json").write_text("{]")
    with pytest.raises(ValueError, match="not valid JSON"):
        cameras_json.load(tmp_path)
    (tmp_path / "cameras.json").write_text("{}")
    with pytest.raises(ValueError, match="none of baseline_m, cam_from_lidar and boxes"):
        cameras_json.load(tmp_path)
    with pytest.raises(ValueError, match="invalid kind='nuscenes': expected one of kitti_stereo"):
        cameras_json.load(tmp_path, "nuscenes")
    with pytest.raises(ValueError, match=r"is not of kind 'dgp' \(KeyError\('frames'\)\)"):
        cameras_json.load(tmp_path, "dgp")
    (tmp_path / "cameras.json").write_text(json.dumps([1]))
    with pytest.raises(ValueError, match="holds a list, not an object"):
        cameras_json.load(tmp_path)


def test_source_and_license_are_those_of_the_file_and_points_are_optional(tmp_path):
    frame = {"file": "a.png", "frame": 0, "time": 0.0, "cam": "left", "w": 24, "h": 16}
    frame |= {"K": [[20, 0, 12], [0, 20, 8], [0, 0, 1]], "c2w": np.eye(4).tolist()}
    content = {"baseline_m": 0.5, "frames": [frame]}
    (tmp_path / "cameras.json").write_text(json.dumps(content))
    scene = cameras_json.load(tmp_path)
    assert "KITTI" not in scene.source + scene.license and scene.points is None
    (tmp_path / "cameras.json").write_text(json.dumps(content | {"source": "our car", "licence": "CC0"}))
    scene = cameras_json.load(tmp_path)
    assert (scene.source, scene.license) == ("our car", "CC0")
