"""Write the scene package that AlpaSim's runtime reads beside a renderer: the recorded drive, cameras and tracks.

A USDZ package with the Gaussians (`scene.usdc`) and these files:

metadata.yaml          id, dates, sensors and time range of the scene
rig_trajectories.json  poses of the vehicle, calibrations of the cameras and the times of their images
sequence_tracks.json   tracked boxes: those with Gaussians of their own are CONTROLLABLE, all others are static
map.xodr               the lanes around the recorded drive (`road_map`), if the log has lines or edges of lanes
mesh.ply, mesh_ground.ply  the ground around the drive (`ground_mesh`), twice: the runtime's settings choose the name

Poses are in the frame `local` of `frames_of_reference`, matrices or (x, y, z, qx, qy, qz, qw); times are microseconds
from the start of the log. The map has no `geoReference`, so that its coordinates are those of `local` too; the runtime
asks for `T_world_base` beside it all the same. Source: NVlabs/alpasim, artifact.py and scenario.py; NVlabs/trajdata,
dataset_specific/xodr, which reads the map.

Not confirmed: the unit of `time_range` (here seconds of the log; the reader keeps two numbers and does not use them).
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from ff_jax.data.fingerprint import fingerprint
from ff_jax.data.scene_data import Box, SceneData, tracks
from ff_jax.export.formats.nodes import NodeMotion, SceneNode
from ff_jax.export.formats.usdz import write_package
from ff_jax.simulation.cameras import RigCamera, rig_cameras
from ff_jax.simulation.frames_of_reference import to_microseconds, upright
from ff_jax.simulation.ground_mesh import ground_mesh, mesh_ply
from ff_jax.simulation.road_map import road_map
from ff_jax.simulation.road_path import road_path

VERSION = "faithfusion-jax"
LABELS = {"vehicle": "automobile", "pedestrian": "person", "cyclist": "bicycle"}
EXPOSURE = 30_000  # microseconds before the time of an image, where the log does not tell when its exposure began

Array = np.ndarray


class ScenePackage(NamedTuple):
    """A scene with its log.

    Attributes:
        scene_id: name by which clients ask for it; that of `serve` is the folder of the run.
        date: of the training, ISO 8601.
        nodes: of the scene; those of actors name their tracks.
        log: the log.
    """

    scene_id: str
    date: str
    nodes: Sequence[SceneNode]
    log: SceneData


def write_artifact(path: str | Path, package: ScenePackage, comments: Sequence[str] = ()) -> None:
    """Write the package, atomically.

    Raises:
        ValueError: lengths of the log are not in meters, or the scene has 4 GB or more.
        MissingPackageError: the package usd-core is missing.
        DiskFullError: the disk is full.
    """
    if not package.log.has_meters:
        raise ValueError(f"{package.log.name} is not in meters, which a simulator needs: give its scale (?scale=).")
    local_from_world = upright(np.asarray(package.log.world_from_ego, np.float64))
    members = {
        "metadata.yaml": metadata(package),
        "rig_trajectories.json": rig_trajectories(package, local_from_world),
        "sequence_tracks.json": sequence_tracks(package, local_from_world),
    }
    texts = {name: json.dumps(content, indent=1) for name, content in members.items()}  # JSON is YAML
    write_package(path, package.nodes, texts | road_files(package, local_from_world), comments, local_from_world)


def road_files(package: ScenePackage, local_from_world: Float[Array, "4 4"]) -> dict[str, str | bytes]:
    """Make the map and the mesh of the ground; none where the vehicle hardly moves."""
    road = road_path(package.log, local_from_world)
    if road is None:
        return {}
    mesh = mesh_ply(*ground_mesh(road, package.log, local_from_world))
    lanes = road_map(road, package.log, local_from_world, package.scene_id)
    return {"mesh.ply": mesh, "mesh_ground.ply": mesh} | ({} if lanes is None else {"map.xodr": lanes})


def metadata(package: ScenePackage) -> dict[str, Any]:
    """Describe the scene."""
    log, digest = package.log, json.dumps(fingerprint(package.log), sort_keys=True)
    name = f"{package.scene_id} {package.date} {digest}"
    return {
        "scene_id": package.scene_id,
        "version_string": VERSION,
        "training_date": package.date,
        "dataset_hash": uuid.uuid5(uuid.NAMESPACE_OID, digest).hex,
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, name)),
        "is_resumable": False,
        "sensors": {"camera_ids": list(log.cameras), "lidar_ids": sorted({sweep.sensor for sweep in log.sweeps})},
        "logger": {"name": None, "run_id": None, "run_url": None},
        "time_range": {"start": float(log.times[0]), "end": float(log.times[-1])},
    }


def rig_trajectories(package: ScenePackage, local_from_world: Float[Array, "4 4"]) -> dict[str, Any]:
    """Describe the recorded drive and the cameras."""
    log, name = package.log, package.scene_id
    cameras = rig_cameras(log)
    trajectory = {
        "sequence_id": name,
        "T_rig_worlds": (local_from_world @ log.world_from_ego).tolist(),
        "T_rig_world_timestamps_us": [to_microseconds(float(time)) for time in log.times],
        "cameras_frame_timestamps_us": {f"{camera}@{name}": _exposures(log, camera) for camera in cameras},
        "rig_bbox": None,  # the simulator's own vehicle
    }
    return {
        "world_to_nre": {"matrix": np.eye(4).tolist()},
        "T_world_base": np.eye(4).tolist(),
        "camera_calibrations": {
            f"{camera.name}@{name}": _calibration(camera, name, index) for index, camera in enumerate(cameras.values())
        },
        "rig_trajectories": [trajectory],
    }


def _exposures(log: SceneData, camera: str) -> list[list[int]]:
    """List beginning and end of the exposures of a camera."""
    ends = sorted({max(to_microseconds(frame.time), 1) for frame in log.frames if frame.camera == camera})
    return [[max(end - EXPOSURE, 0), end] for end in ends]


def _calibration(camera: RigCamera, sequence: str, index: int) -> dict[str, Any]:
    K, width, height, _ = camera.intrinsics
    return {
        "sequence_id": sequence,
        "unique_sensor_idx": index,
        "logical_sensor_name": camera.name,
        "T_sensor_rig": camera.rig_from_camera.tolist(),
        "camera_model": {
            "type": "opencv-pinhole",
            "parameters": {
                "resolution": [width, height],
                "shutter_type": camera.shutter,
                "principal_point": [float(K[0, 2]), float(K[1, 2])],
                "focal_length": [float(K[0, 0]), float(K[1, 1])],
                "radial_coeffs": [0.0] * 6,
                "tangential_coeffs": [0.0] * 2,
                "thin_prism_coeffs": [0.0] * 4,
            },
        },
    }


def sequence_tracks(package: ScenePackage, local_from_world: Float[Array, "4 4"]) -> dict[str, Any]:
    """Describe the tracks with at least two boxes; actors have the poses of their Gaussians."""
    motions = {node.track: node.motion for node in package.nodes if node.track is not None}
    chosen = {name: boxes for name, boxes in tracks(package.log).items() if len(boxes) > 1}
    paths = {name: _path(boxes, motions.get(name), package.log.times) for name, boxes in chosen.items()}
    data: Mapping[str, list[Any]] = {
        "tracks_id": list(paths),
        "tracks_label_class": [LABELS.get(boxes[0].category, boxes[0].category) for boxes in chosen.values()],
        "tracks_flags": [["DYNAMIC", "CONTROLLABLE"] if name in motions else ["STATIC"] for name in paths],
        "tracks_timestamps_us": [[to_microseconds(float(time)) for time in times] for times, _ in paths.values()],
        "tracks_poses": [_pose_rows(local_from_world @ poses) for _, poses in paths.values()],
    }
    sizes = [np.mean([box.size for box in boxes], 0).tolist() for boxes in chosen.values()]
    return {package.scene_id: {"tracks_data": data, "cuboidtracks_data": {"cuboids_dims": sizes}}}


def _path(
    boxes: Sequence[Box], motion: NodeMotion | None, times: Float[Array, "times"]
) -> tuple[Float[Array, "T"], Float[Array, "T 4 4"]]:
    """Find times and poses (world) of a track: those of its Gaussians, or of its boxes."""
    if motion is None:
        return times[[box.time_index for box in boxes]], np.stack([box.world_from_object for box in boxes])
    poses = np.tile(np.eye(4), (len(motion.times), 1, 1))
    poses[:, :3, :3] = Rotation.from_quat(motion.quats, scalar_first=True).as_matrix()
    poses[:, :3, 3] = motion.positions
    return motion.times[motion.present], poses[motion.present]


def _pose_rows(poses: Float[Array, "T 4 4"]) -> list[list[float]]:
    quats = Rotation.from_matrix(poses[:, :3, :3]).as_quat()
    return np.concatenate([poses[:, :3, 3], quats], 1).tolist()
