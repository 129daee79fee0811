"""Scene packages of AlpaSim, read as its runtime reads them: by the fields of its artifact.py and scenario.py."""

import dataclasses
import io
import json
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from plyfile import PlyData
from pxr import Usd
from scipy.spatial.transform import Rotation

from ff_jax.data.scene_data import Box
from ff_jax.export.formats.nodes import NodeMotion, SceneNode
from ff_jax.simulation.artifact import ScenePackage, write_artifact
from tests.ff_jax.data import tiny
from tests.ff_jax.export.formats.samples import gaussians_of
from tests.ff_jax.simulation.curved_street import curved_log

DATE = "2026-12-01T10:00:00+00:00"


def package_of(folder, **changes):
    """Make a log with a moving car "7" that has Gaussians, and a parked one, "8"."""
    log = tiny.make_scene(folder / "log")
    parked = tuple(Box("8", "cyclist", i, tiny.pose(5, 3), np.array([2.0, 1, 1.8])) for i in range(3))
    once = (Box("9", "other", 1, tiny.pose(5, 6), np.array([1.0, 1, 1])),)
    log = dataclasses.replace(log, boxes=(*log.boxes, *parked, *once), **changes)
    turns = Rotation.from_euler("z", [[0.0], [0.1], [0.2]]).as_quat(scalar_first=True)
    positions = np.array([[10.0, 0, 0], [12, 0.1, 0], [14, 0.3, 0]])
    motion = NodeMotion(log.times, turns, positions, np.array([True, True, False]))
    nodes = [SceneNode("static", gaussians_of(5, 1)), SceneNode("actor_7", gaussians_of(3, 1), motion, "7")]
    return ScenePackage("street", DATE, nodes, log)


def documents(path):
    with zipfile.ZipFile(path) as archive:
        read = {name: archive.read(name).decode() for name in archive.namelist() if name.endswith(("json", "yaml"))}
    jsons = (json.loads(read[name]) for name in ("rig_trajectories.json", "sequence_tracks.json"))
    return yaml.safe_load(read["metadata.yaml"]), *jsons


def test_the_runtime_finds_its_fields(tmp_path):
    package = package_of(tmp_path)
    write_artifact(tmp_path / "street.usdz", package)
    metadata, rig, tracks = documents(tmp_path / "street.usdz")
    assert (metadata["scene_id"], metadata["training_date"], metadata["is_resumable"]) == ("street", DATE, False)
    assert metadata["sensors"] == {"camera_ids": ["a", "b"], "lidar_ids": ["lidar"]}
    assert metadata["time_range"] == {"start": 0.0, "end": 0.2} and len(metadata["uuid"]) == 36
    assert set(metadata) >= {"version_string", "dataset_hash", "logger"}

    np.testing.assert_array_equal(rig["world_to_nre"]["matrix"], np.eye(4))
    names = {key: calibration["logical_sensor_name"] for key, calibration in rig["camera_calibrations"].items()}
    assert names == {"a@street": "a", "b@street": "b"}
    (trajectory,) = rig["rig_trajectories"]
    assert trajectory["sequence_id"] == "street" and trajectory["rig_bbox"] is None
    assert trajectory["T_rig_world_timestamps_us"] == [0, 100_000, 200_000]
    np.testing.assert_array_equal(trajectory["T_rig_worlds"], package.log.world_from_ego)
    assert set(trajectory["cameras_frame_timestamps_us"]) == set(rig["camera_calibrations"])
    for ranges in trajectory["cameras_frame_timestamps_us"].values():
        assert [end for _, end in ranges] == [1, 100_000, 200_000]
        assert all(isinstance(value, int) for pair in ranges for value in pair) and all(a < b for a, b in ranges)
    offset = np.array(rig["camera_calibrations"]["b@street"]["T_sensor_rig"])[:3, 3]
    np.testing.assert_allclose(offset, [0, -0.5, 0], atol=1e-9)

    data, sizes = tracks["street"]["tracks_data"], tracks["street"]["cuboidtracks_data"]["cuboids_dims"]
    assert data["tracks_id"] == ["7", "8"] and data["tracks_label_class"] == ["automobile", "bicycle"]
    assert ["CONTROLLABLE" in flags for flags in data["tracks_flags"]] == [True, False]
    assert sizes == [[4.0, 2.0, 1.5], [2.0, 1.0, 1.8]]
    assert data["tracks_timestamps_us"] == [[0, 100_000], [0, 100_000, 200_000]]
    car, parked = (np.array(poses) for poses in data["tracks_poses"])
    np.testing.assert_allclose(car[:, :3], [[10, 0, 0], [12, 0.1, 0]])  # where the Gaussians are, not the boxes
    np.testing.assert_allclose(Rotation.from_quat(car[:, 3:]).as_euler("zyx")[:, 0], [0, 0.1], atol=1e-9)
    np.testing.assert_allclose(parked, np.tile([5, 3, 0, 0, 0, 0, 1], (3, 1)))
    stage = Usd.Stage.Open(str(tmp_path / "street.usdz"))
    assert [prim.GetName() for prim in stage.GetPrimAtPath("/scene").GetChildren()] == ["static", "actor_7"]


def test_the_map_and_the_ground_are_beside_the_drive(tmp_path):
    """As the runtime looks for them: a map without geoReference beside T_world_base, the mesh under both names."""
    log = curved_log(tmp_path / "log")
    write_artifact(
        tmp_path / "street.usdz", ScenePackage("street", DATE, [SceneNode("static", gaussians_of(5, 1))], log)
    )
    with zipfile.ZipFile(tmp_path / "street.usdz") as archive:
        road = ElementTree.fromstring(archive.read("map.xodr")).find("road")
        meshes = [PlyData.read(io.BytesIO(archive.read(name))) for name in ("mesh.ply", "mesh_ground.ply")]
    _, rig, _ = documents(tmp_path / "street.usdz")
    np.testing.assert_array_equal(rig["T_world_base"], np.eye(4))
    drive = np.array(rig["rig_trajectories"][0]["T_rig_worlds"])[:, :3, 3]
    line = np.array([[float(piece.attrib["x"]), float(piece.attrib["y"])] for piece in road.iter("geometry")])
    vertices = np.stack([meshes[1]["vertex"][axis] for axis in "xyz"], -1)
    for pose in drive[::10]:  # the road is below the drive, and so is the ground
        assert np.linalg.norm(line - pose[:2], axis=1).min() < 1.1
        nearest = vertices[np.linalg.norm(vertices[:, :2] - pose[:2], axis=1).argmin()]
        assert abs(nearest[2] - pose[2]) < 0.1
    assert (meshes[0]["vertex"].data == meshes[1]["vertex"].data).all()
    assert Usd.Stage.Open(str(tmp_path / "street.usdz")).GetPrimAtPath("/scene/static")


def test_a_drive_of_two_meters_has_no_road(tmp_path):
    write_artifact(tmp_path / "street.usdz", package_of(tmp_path))
    with zipfile.ZipFile(tmp_path / "street.usdz") as archive:
        assert not {"map.xodr", "mesh.ply", "mesh_ground.ply"} & set(archive.namelist())


def test_a_world_that_lies_on_its_side_is_turned_upright(tmp_path):
    """Poses of the vehicle, tracks and Gaussians turn together, so that z is up."""
    package = package_of(tmp_path)
    lying = np.eye(4)
    lying[:3, :3] = Rotation.from_euler("x", 90, degrees=True).as_matrix()
    log = dataclasses.replace(
        package.log,
        world_from_ego=lying @ package.log.world_from_ego,
        boxes=tuple(dataclasses.replace(b, world_from_object=lying @ b.world_from_object) for b in package.log.boxes),
        frames=tuple(dataclasses.replace(f, world_from_camera=lying @ f.world_from_camera) for f in package.log.frames),
    )
    write_artifact(tmp_path / "b.usdz", package._replace(log=log, nodes=package.nodes[:1]))
    _, rig, tracks = documents(tmp_path / "b.usdz")
    np.testing.assert_allclose(rig["rig_trajectories"][0]["T_rig_worlds"], package.log.world_from_ego, atol=1e-9)
    parked = np.array(tracks["street"]["tracks_data"]["tracks_poses"][1])
    np.testing.assert_allclose(parked[:, :3], np.tile([5, 3, 0], (3, 1)), atol=1e-9)
    stage = Usd.Stage.Open(str(tmp_path / "b.usdz"))
    matrix = np.array(stage.GetPrimAtPath("/scene").GetAttribute("xformOp:transform").Get()).T
    np.testing.assert_allclose(matrix, np.linalg.inv(lying), atol=1e-9)


def test_a_log_without_meters_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"not in meters.*scale"):
        write_artifact(tmp_path / "a.usdz", package_of(tmp_path, has_meters=False))
