"""Read a segment of the Waymo Open Dataset, Perception, version 2: a Parquet file of each component.

The folder holds camera_image/, camera_calibration/, vehicle_pose/ and, where wanted, lidar/, lidar_calibration/,
lidar_pose/ and lidar_box/, with a file SEGMENT.parquet in each. Version 2 has no map. How images, LiDAR and boxes are
placed in time is told in `waymo_parts.py`.
"""

import functools
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped

from ff_jax.data.formats.common import column_names, read_cell, read_columns, start_at_vehicle
from ff_jax.data.formats.waymo_parts import CAMERAS, LASERS, LICENCE, camera_frame, label_box, laser_points, matrix
from ff_jax.data.lazy_arrays import EncodedImage, Source
from ff_jax.data.scene_data import SceneData, Sweep

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
        segment: its name; may be empty where there is only one.

    Raises:
        ValueError: there is no such segment, pyarrow is missing, or a file is missing or damaged.
    """
    known = sorted(file.stem for file in (path / "camera_image").glob("*.parquet"))
    if segment not in known and (segment or len(known) != 1):
        shown = ", ".join(known[:5]) + (", ..." if len(known) > 5 else "")
        raise ValueError(f"{path}: {segment=} names none; use ?segment= one of {shown}.")
    name = segment or known[0]
    poses = _component(path, name, "vehicle_pose", "VehiclePoseComponent", (STAMP,), ("world_from_vehicle.transform",))
    order = np.argsort(poses[STAMP])
    stamps = poses[STAMP][order].astype(np.int64)
    world_from_ego = _matrices(poses["world_from_vehicle.transform"])[order]
    scene = SceneData(
        name=name,
        source="Waymo Open Dataset, Perception, version 2",
        licence=LICENCE,
        times=(stamps - stamps[0]) * 1e-6,
        world_from_ego=world_from_ego,
        frames=_frames(path, name, stamps),
        sweeps=_sweeps(path, name, stamps, world_from_ego),
        boxes=_boxes(path, name, stamps, world_from_ego),
    )
    return start_at_vehicle(scene)


def _frames(path: Path, name: str, stamps: Shaped[Array, "T"]) -> tuple:
    columns = [f"intrinsic.{key}" for key in INTRINSICS]
    table = _component(
        path,
        name,
        "camera_calibration",
        "CameraCalibrationComponent",
        (CAMERA,),
        (*columns, "extrinsic.transform", "width", "height"),
        ("rolling_shutter_direction",),
    )
    cameras = {
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
    images = _component(
        path,
        name,
        "camera_image",
        "CameraImageComponent",
        (STAMP, CAMERA),
        ("pose.transform", "pose_timestamp"),
        (*VELOCITY.values(), *SHUTTER.values()),
    )
    file, frames = path / f"camera_image/{name}.parquet", []
    for row in np.lexsort([images[CAMERA], images[STAMP]]).tolist():
        index, camera = _step(stamps, int(images[STAMP][row]), file), cameras[int(images[CAMERA][row])]
        image = {
            "pose": {"transform": np.array(images["pose.transform"][row], float)},
            "time": images["pose_timestamp"][row],
        }
        if all(column in images for column in (*VELOCITY.values(), *SHUTTER.values())):
            image["velocity"] = {key: images[column][row] for key, column in VELOCITY.items()}
            image |= {key: images[column][row] for key, column in SHUTTER.items()}
        read = functools.partial(read_cell, file, "[CameraImageComponent].image", row)
        source = EncodedImage(f"{file}: image {CAMERAS[camera['name']]} of time step {index}", read)
        frames.append(camera_frame(index, image, camera, float(stamps[0]) * 1e-6, source))
    return tuple(frames)


def _sweeps(path: Path, name: str, stamps: Shaped[Array, "T"], world_from_ego: Float[Array, "T 4 4"]) -> tuple:
    file = path / f"lidar/{name}.parquet"
    if not file.is_file():
        return ()
    lasers, keys = _lasers(path, name), read_columns(file, (STAMP, LASER))
    posed = path / f"lidar_pose/{name}.parquet"
    pose_keys = read_columns(posed, (STAMP, LASER)) if posed.is_file() else {STAMP: (), LASER: ()}
    pose_rows = {key: row for row, key in enumerate(zip(pose_keys[STAMP], pose_keys[LASER], strict=True))}
    sweeps = []
    for row in np.lexsort([keys[LASER], keys[STAMP]]).tolist():
        key = keys[STAMP][row], keys[LASER][row]
        index, laser = _step(stamps, int(key[0]), file), lasers[int(key[1])]
        pose = world_from_ego[index]
        read = functools.partial(_points, file, row, posed, pose_rows.get(key), laser, pose)
        sensor = LASERS[int(key[1])]
        source = Source(f"{file}: LiDAR {sensor} of time step {index}", read)
        sweeps.append(Sweep(index, pose @ matrix(laser["extrinsic"]), source, sensor))
    return tuple(sweeps)


def _lasers(path: Path, name: str) -> dict[int, dict]:
    wanted = ("extrinsic.transform", "beam_inclination.min", "beam_inclination.max", "beam_inclination.values")
    table = _component(path, name, "lidar_calibration", "LiDARCalibrationComponent", (LASER,), wanted)
    rows = zip(table[LASER], *(table[column] for column in wanted), strict=True)
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
    file: Path, row: int, posed: Path, pose_row: int | None, laser: dict, world_from_vehicle: Float[Array, "4 4"]
) -> Float[Array, "N 4"]:
    images = [_image(file, f"[LiDARComponent].range_image_return{number}", row) for number in (1, 2)]
    poses = None if pose_row is None else _image(posed, "[LiDARPoseComponent].range_image_return1", pose_row)
    return laser_points([image for image in images if image is not None], poses, laser, world_from_vehicle)


def _image(file: Path, column: str, row: int) -> Float[Array, "H W C"] | None:
    values, shape = (read_cell(file, f"{column}.{part}", row) for part in ("values", "shape"))
    return None if values is None or len(values) == 0 else values.reshape(shape)


def _boxes(path: Path, name: str, stamps: Shaped[Array, "T"], world_from_ego: Float[Array, "T 4 4"]) -> tuple:
    file, track = path / f"lidar_box/{name}.parquet", "key.laser_object_id"
    if not file.is_file():
        return ()
    table = _component(path, name, "lidar_box", "LiDARBoxComponent", (STAMP, track), tuple(LABEL_COLUMNS.values()))
    boxes = []
    for row in np.argsort(table[STAMP], kind="stable").tolist():
        index = _step(stamps, int(table[STAMP][row]), file)
        box = {key: table[column][row] for key, column in LABEL_COLUMNS.items()}
        counts = {key: int(box[key]) for key in ("points", "top_points")}
        label = {"box": box, "type": int(box["type"]), "id": str(table[track][row]), **counts}
        boxes.append(label_box(index, label, world_from_ego[index]))
    return tuple(boxes)


def _component(
    path: Path,
    name: str,
    folder: str,
    component: str,
    keys: tuple[str, ...],
    columns: tuple[str, ...],
    optional: tuple[str, ...] = (),
) -> Table:
    """Return columns of a component: keys by their full names, others by their names within it."""
    file = path / folder / f"{name}.parquet"
    full = {column: f"[{component}].{column}" for column in (*columns, *optional)}
    there = column_names(file) if optional else ()
    full = {column: long for column, long in full.items() if column in columns or long in there}
    table = read_columns(file, (*keys, *full.values()))
    return {key: table[key] for key in keys} | {column: table[long] for column, long in full.items()}


def _matrices(transforms: Shaped[Array, "N"]) -> Float[Array, "N 4 4"]:
    return np.stack(list(transforms)).astype(float).reshape(-1, 4, 4)


def _step(stamps: Shaped[Array, "T"], stamp: int, file: Path) -> int:
    index = int(np.searchsorted(stamps, stamp))
    if index == len(stamps) or stamps[index] != stamp:
        raise ValueError(f"{file}: the time {stamp} has no pose in vehicle_pose; download both again.")
    return index
