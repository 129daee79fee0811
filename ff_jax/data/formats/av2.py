"""Read a log of the Argoverse 2 sensor data set: one folder with calibration/, sensors/, map/ and feather tables.

A time step is a LiDAR sweep (10 Hz) with the image nearest in time of every ring camera (20 Hz); the pose of an image
is that at its own time. The images are undistorted, so the distortion of the calibration is not used; the principal
point is moved by half a pixel, because the calibration has pixel centers at integers. Sweeps are stored in the vehicle
frame, compensated for the motion of the vehicle, and are transformed to the frame of the upper LiDAR.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64

from ff_jax.data.formats import av2_map
from ff_jax.data.formats.common import nearest, pinhole, pose, read_columns, start_at_vehicle
from ff_jax.data.lazy_arrays import ImageFile, Source
from ff_jax.data.scene_data import Box, Frame, LidarSweep, SceneData, invert_rigid, transform
from ff_jax.runtime.untrusted_files import reason

POSES = "city_SE3_egovehicle.feather"
LIDAR = "up_lidar"
MAX_GAP = 60_000_000  # nanoseconds between a sweep and its images; sweeps are 100 ms apart
QUATERNION, TRANSLATION = ("qw", "qx", "qy", "qz"), ("tx_m", "ty_m", "tz_m")
CATEGORIES = {
    "vehicle": "REGULAR_VEHICLE LARGE_VEHICLE BUS BOX_TRUCK TRUCK TRUCK_CAB SCHOOL_BUS ARTICULATED_BUS "
    "VEHICULAR_TRAILER MESSAGE_BOARD_TRAILER TRAFFIC_LIGHT_TRAILER RAILED_VEHICLE",
    "pedestrian": "PEDESTRIAN OFFICIAL_SIGNALER",
    "cyclist": "BICYCLE BICYCLIST MOTORCYCLE MOTORCYCLIST WHEELED_RIDER",
}

Array = np.ndarray


def load(path: Path) -> SceneData:
    """Read the log in folder `path`; no image and no sweep is decoded.

    Raises:
        ValueError: the folder is not a sensor log, it has no images or no sweeps, or a table is damaged.
    """
    stamps = np.array(list(_stamped(path / "sensors/lidar", "feather")), np.int64)
    if len(stamps) == 0:
        raise ValueError(f"{path}/sensors/lidar holds no sweeps; download the LiDAR of this log.")
    times, poses = _poses(path)
    frames = _frames(path, stamps, times, poses)
    if not frames:
        raise ValueError(f"{path}/sensors/cameras holds no images of ring cameras; download the cameras of this log.")
    world_from_ego = poses[nearest(times, stamps)]
    try:
        lidar, maps = _extrinsics(path)[LIDAR], sorted((path / "map").glob("log_map_archive_*.json"))
        scene = SceneData(
            name=path.name,
            source="Argoverse 2 sensor data set",
            license="CC BY-NC-SA 4.0 (Argoverse 2)",
            times=(stamps - stamps[0]) * 1e-9,
            world_from_ego=world_from_ego,
            frames=frames,
            sweeps=tuple(_sweep(path, i, stamp, world_from_ego[i], lidar) for i, stamp in enumerate(stamps.tolist())),
            boxes=_boxes(path, stamps, world_from_ego),
            lanes=tuple(lane for file in maps for lane in av2_map.load(file)),
        )
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path} is not an Argoverse 2 log ({reason(repr(error))}); download it again.") from error
    return start_at_vehicle(scene)


def _poses(path: Path) -> tuple[Int64[Array, "T"], Float[Array, "T 4 4"]]:
    """Read the times (nanoseconds, ascending) and poses of the vehicle in the city."""
    table = read_columns(path / POSES, ("timestamp_ns", *QUATERNION, *TRANSLATION))
    order = np.argsort(table["timestamp_ns"])
    return table["timestamp_ns"][order], _transforms(table)[order]


def _transforms(table: dict[str, Array]) -> Float[Array, "N 4 4"]:
    columns = [np.stack([table[key] for key in keys], -1).astype(float) for keys in (QUATERNION, TRANSLATION)]
    return pose(*columns)


def _extrinsics(path: Path) -> dict[str, Float[Array, "4 4"]]:
    """Read ego_from_sensor of every sensor."""
    table = read_columns(path / "calibration/egovehicle_SE3_sensor.feather", ("sensor_name", *QUATERNION, *TRANSLATION))
    return dict(zip(table["sensor_name"], _transforms(table), strict=True))


def _frames(
    path: Path, stamps: Int64[Array, "S"], times: Int64[Array, "T"], poses: Float[Array, "T 4 4"]
) -> tuple[Frame, ...]:
    keys = ("sensor_name", "fx_px", "fy_px", "cx_px", "cy_px", "width_px", "height_px")
    table, ego_from_sensor = read_columns(path / "calibration/intrinsics.feather", keys), _extrinsics(path)
    frames = []
    for name, fx, fy, cx, cy, width, height in zip(*(table[key] for key in keys), strict=True):
        files = _stamped(path / "sensors/cameras" / name, "jpg")
        if not name.startswith("ring_") or not files:
            continue
        image_stamps = np.array(list(files), np.int64)
        for step, stamp in enumerate(image_stamps[nearest(image_stamps, stamps)]):
            if abs(stamp - stamps[step]) > MAX_GAP:
                continue
            frame = Frame(
                camera=name,
                time_index=step,
                time=float(stamp - stamps[0]) * 1e-9,
                K=pinhole(fx, fy, cx + 0.5, cy + 0.5),
                world_from_camera=poses[nearest(times, np.array([stamp]))[0]] @ ego_from_sensor[name],
                width=int(width),
                height=int(height),
                image=ImageFile(files[int(stamp)]),
                exposure_id=len(frames),
            )
            frames.append(frame)
    return tuple(sorted(frames, key=lambda frame: frame.time_index))


def _sweep(
    path: Path, step: int, stamp: int, world_from_ego: Float[Array, "4 4"], ego_from_lidar: Float[Array, "4 4"]
) -> LidarSweep:
    file = path / f"sensors/lidar/{stamp}.feather"

    def compute() -> Float[Array, "N 4"]:
        table = read_columns(file, ("x", "y", "z", "intensity"))
        xyz = np.stack([table[key] for key in "xyz"], -1).astype(float)
        xyz = transform(invert_rigid(ego_from_lidar), xyz)
        return np.concatenate([xyz, table["intensity"][:, None] / 255], 1).astype(np.float32)

    return LidarSweep(step, world_from_ego @ ego_from_lidar, Source(str(file), compute, file))


def _boxes(path: Path, stamps: Int64[Array, "S"], world_from_ego: Float[Array, "S 4 4"]) -> tuple[Box, ...]:
    if not (path / "annotations.feather").is_file():
        return ()
    size = ("length_m", "width_m", "height_m")
    keys = ("timestamp_ns", "track_uuid", "category", "num_interior_pts", *size, *QUATERNION, *TRANSLATION)
    table = read_columns(path / "annotations.feather", keys)
    categories = {name: category for category, names in CATEGORIES.items() for name in names.split()}
    step_of = {int(stamp): step for step, stamp in enumerate(stamps)}
    poses, sizes = _transforms(table), np.stack([table[key] for key in size], -1).astype(float)
    boxes = []
    for i in np.flatnonzero(np.isin(table["timestamp_ns"], stamps)):
        step, category = step_of[int(table["timestamp_ns"][i])], categories.get(table["category"][i], "other")
        count, track = int(table["num_interior_pts"][i]), str(table["track_uuid"][i])
        boxes.append(Box(track, category, step, world_from_ego[step] @ poses[i], sizes[i], count))
    return tuple(sorted(boxes, key=lambda box: box.time_index))


def _stamped(folder: Path, suffix: str) -> dict[int, Path]:
    """List the files of a folder whose names are their times in nanoseconds, in order of time."""
    files = {int(file.stem): file for file in folder.glob(f"*.{suffix}") if file.stem.isdigit()}
    return dict(sorted(files.items()))
