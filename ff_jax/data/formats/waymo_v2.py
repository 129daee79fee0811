"""Read a segment of the Waymo Open Dataset, Perception, version 2: one Parquet file per component.

The folder holds camera_image/, camera_calibration/, vehicle_pose/ and optionally lidar/, lidar_calibration/,
lidar_pose/ and lidar_box/, with a file SEGMENT.parquet in each. Version 2 has no map. `waymo_parts.py` describes the
poses of images, LiDAR and boxes.
"""

import functools
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped

from ff_jax.data.formats.common import choose, column_names, read_cell, read_columns, start_at_vehicle
from ff_jax.data.formats.waymo_parts import CAMERAS, LASERS, LICENSE, camera_frame, label_box, laser_points, matrix
from ff_jax.data.lazy_arrays import EncodedImage, Source
from ff_jax.data.scene_data import Box, Frame, LidarSweep, SceneData

COMPONENTS = {
    "vehicle_pose": "VehiclePoseComponent",
    "camera_calibration": "CameraCalibrationComponent",
    "camera_image": "CameraImageComponent",
    "lidar_calibration": "LiDARCalibrationComponent",
    "lidar_box": "LiDARBoxComponent",
}
STAMP, CAMERA, LASER = "key.frame_timestamp_micros", "key.camera_name", "key.laser_name"
INTRINSICS = ("f_u", "f_v", "c_u", "c_v", "k1", "k2", "p1", "p2", "k3")
VELOCITY = {f"v_{axis}": f"velocity.linear_velocity.{axis}" for axis in "xyz"}
VELOCITY |= {f"w_{axis}": f"velocity.angular_velocity.{axis}" for axis in "xyz"}
SHUTTER = {
    "exposure": "rolling_shutter_params.shutter",
    "trigger": "rolling_shutter_params.camera_trigger_time",
    "done": "rolling_shutter_params.camera_readout_done_time",
}
LABEL_COLUMNS = {
    **{f"center_{axis}": f"box.center.{axis}" for axis in "xyz"},
    **{name: f"box.size.{axis}" for name, axis in (("length", "x"), ("width", "y"), ("height", "z"))},
    "heading": "box.heading",
    "type": "type",
    "points": "num_lidar_points_in_box",
    "top_points": "num_top_lidar_points_in_box",
}

Array = np.ndarray
Table = dict[str, Array]


def load(path: Path, segment: str = "") -> SceneData:
    """Read one segment of the data set in folder `path`; no image and no range image is decoded.

    Args:
        path: folder of the components.
        segment: its name; may be empty if there is only one.

    Raises:
        ValueError: there is no such segment, pyarrow is missing, or a file is missing or damaged.
    """
    name = choose(segment, sorted(file.stem for file in (path / "camera_image").glob("*.parquet")), "segment", path)
    poses = _component(path / f"vehicle_pose/{name}.parquet", (STAMP,), ("world_from_vehicle.transform",))
    order = np.argsort(poses[STAMP])
    stamps = poses[STAMP][order].astype(np.int64)
    world_from_ego = _matrices(poses["world_from_vehicle.transform"])[order]
    scene = SceneData(
        name=name,
        source="Waymo Open Dataset, Perception, version 2",
        license=LICENSE,
        times=(stamps - stamps[0]) * 1e-6,
        world_from_ego=world_from_ego,
        frames=_frames(path, name, stamps),
        sweeps=_sweeps(path, name, stamps, world_from_ego),
        boxes=_boxes(path, name, stamps, world_from_ego),
    )
    return start_at_vehicle(scene)


def _cameras(path: Path, name: str) -> dict[int, dict]:
    """Read the calibration of every camera, with the names of `waymo_messages`."""
    columns = [f"intrinsic.{key}" for key in INTRINSICS]
    table = _component(
        path / f"camera_calibration/{name}.parquet",
        (CAMERA,),
        (*columns, "extrinsic.transform", "width", "height"),
        ("rolling_shutter_direction",),
    )
    return {
        int(table[CAMERA][i]): {
            "name": int(table[CAMERA][i]),
            "intrinsic": np.array([table[column][i] for column in columns], float),
            "extrinsic": {"transform": np.array(table["extrinsic.transform"][i], float)},
            "width": int(table["width"][i]),
            "height": int(table["height"][i]),
            "direction": int(table["rolling_shutter_direction"][i]) if "rolling_shutter_direction" in table else None,
        }
        for i in range(len(table[CAMERA]))
    }


def _frames(path: Path, name: str, stamps: Shaped[Array, "T"]) -> tuple[Frame, ...]:
    file, cameras, frames = path / f"camera_image/{name}.parquet", _cameras(path, name), []
    motion = (*VELOCITY.values(), *SHUTTER.values())
    images = _component(file, (STAMP, CAMERA), ("pose.transform", "pose_timestamp"), motion)
    for row in np.lexsort([images[CAMERA], images[STAMP]]).tolist():
        index, camera = _step(stamps, int(images[STAMP][row]), file), cameras[int(images[CAMERA][row])]
        image = {
            "pose": {"transform": np.array(images["pose.transform"][row], float)},
            "time": images["pose_timestamp"][row],
        }
        if all(column in images for column in motion):
            image["velocity"] = {key: images[column][row] for key, column in VELOCITY.items()}
            image |= {key: images[column][row] for key, column in SHUTTER.items()}
        read = functools.partial(_encoded_image, file, row)
        source = EncodedImage(f"{file}: image {CAMERAS[camera['name']]} of time step {index}", read)
        frames.append(camera_frame(index, image, camera, float(stamps[0]) * 1e-6, source))
    return tuple(frames)


def _sweeps(
    path: Path, name: str, stamps: Shaped[Array, "T"], world_from_ego: Float[Array, "T 4 4"]
) -> tuple[LidarSweep, ...]:
    file = path / f"lidar/{name}.parquet"
    if not file.is_file():
        return ()
    lasers, keys = _lasers(path, name), read_columns(file, (STAMP, LASER))
    pose_file = path / f"lidar_pose/{name}.parquet"
    pose_keys = read_columns(pose_file, (STAMP, LASER)) if pose_file.is_file() else {STAMP: (), LASER: ()}
    pose_rows = {key: row for row, key in enumerate(zip(pose_keys[STAMP], pose_keys[LASER], strict=True))}
    sweeps = []
    for row in np.lexsort([keys[LASER], keys[STAMP]]).tolist():
        key = keys[STAMP][row], keys[LASER][row]
        index, laser = _step(stamps, int(key[0]), file), lasers[int(key[1])]
        pose = world_from_ego[index]
        read = functools.partial(_points, file, row, pose_file, pose_rows.get(key), laser, pose)
        sensor = LASERS[int(key[1])]
        source = Source(f"{file}: LiDAR {sensor} of time step {index}", read)
        sweeps.append(LidarSweep(index, pose @ matrix(laser["extrinsic"]), source, sensor))
    return tuple(sweeps)


def _encoded_image(file: Path, row: int) -> bytes:
    data = read_cell(file, "[CameraImageComponent].image", row)
    if not isinstance(data, bytes):
        raise ValueError(f"{file}: row {row} has no image; download the file again.")
    return data


def _lasers(path: Path, name: str) -> dict[int, dict]:
    columns = ("extrinsic.transform", "beam_inclination.min", "beam_inclination.max", "beam_inclination.values")
    table = _component(path / f"lidar_calibration/{name}.parquet", (LASER,), columns)
    rows = zip(table[LASER], *(table[column] for column in columns), strict=True)
    return {
        int(laser): {
            "extrinsic": {"transform": np.array(transform, float)},
            "inclination_min": float(low),
            "inclination_max": float(high),
            "inclinations": np.zeros(0) if beams is None else np.array(beams, float),
        }
        for laser, transform, low, high, beams in rows
    }


def _points(
    file: Path, row: int, pose_file: Path, pose_row: int | None, laser: dict, world_from_vehicle: Float[Array, "4 4"]
) -> Float[Array, "N 4"]:
    images = [_image(file, f"[LiDARComponent].range_image_return{number}", row) for number in (1, 2)]
    poses = None if pose_row is None else _image(pose_file, "[LiDARPoseComponent].range_image_return1", pose_row)
    return laser_points([image for image in images if image is not None], poses, laser, world_from_vehicle)


def _image(file: Path, column: str, row: int) -> Float[Array, "H W C"] | None:
    values, shape = (read_cell(file, f"{column}.{part}", row) for part in ("values", "shape"))
    if not isinstance(values, np.ndarray) or not isinstance(shape, np.ndarray) or len(values) == 0:
        return None
    return values.reshape(shape.tolist())


def _boxes(path: Path, name: str, stamps: Shaped[Array, "T"], world_from_ego: Float[Array, "T 4 4"]) -> tuple[Box, ...]:
    file, track = path / f"lidar_box/{name}.parquet", "key.laser_object_id"
    if not file.is_file():
        return ()
    table = _component(file, (STAMP, track), tuple(LABEL_COLUMNS.values()))
    boxes = []
    for row in np.argsort(table[STAMP], kind="stable").tolist():
        index = _step(stamps, int(table[STAMP][row]), file)
        box = {key: table[column][row] for key, column in LABEL_COLUMNS.items()}
        counts = {key: int(box[key]) for key in ("points", "top_points")}
        label = {"box": box, "type": int(box["type"]), "id": str(table[track][row]), **counts}
        boxes.append(label_box(index, label, world_from_ego[index]))
    return tuple(boxes)


def _component(file: Path, keys: tuple[str, ...], columns: tuple[str, ...], optional: tuple[str, ...] = ()) -> Table:
    """Read columns of a component: keys by their full names, others by their names within it."""
    prefix = f"[{COMPONENTS[file.parent.name]}]"
    present = column_names(file) if optional else ()
    full = {column: f"{prefix}.{column}" for column in columns}
    full |= {column: f"{prefix}.{column}" for column in optional if f"{prefix}.{column}" in present}
    table = read_columns(file, (*keys, *full.values()))
    return {key: table[key] for key in keys} | {column: table[name] for column, name in full.items()}


def _matrices(transforms: Shaped[Array, "N"]) -> Float[Array, "N 4 4"]:
    return np.stack(list(transforms)).astype(float).reshape(-1, 4, 4)


def _step(stamps: Shaped[Array, "T"], stamp: int, file: Path) -> int:
    index = int(np.searchsorted(stamps, stamp))
    if index == len(stamps) or stamps[index] != stamp:
        raise ValueError(f"{file}: the time {stamp} has no pose in vehicle_pose; download both again.")
    return index
