"""Read a sequence of PandaSet: one folder with camera/, lidar/ and annotations/ (https://pandaset.org).

A time step is a sweep of the spinning LiDAR with the images of all cameras; a sequence may lack images and sweeps.
Camera poses have OpenCV axes; the ego frame is at the front camera. LiDAR points are stored in the world, compensated
for the motion of the vehicle. The principal point is moved by half a pixel, because the calibration has pixel centers
at integers. Objects in the range of both LiDARs have one label for each; the label of the spinning LiDAR is read.
"""

import json
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ff_jax.data.formats.common import nearest, pinhole, pose, rigid, start_at_vehicle
from ff_jax.data.formats.pandas_pickle import read_table
from ff_jax.data.lazy_arrays import ImageFile, Source, image_size, read_object
from ff_jax.data.scene_data import Box, Frame, LidarSweep, SceneData, ego_from_front_camera, invert_rigid, transform
from ff_jax.runtime.untrusted_files import read_json, reason

FRONT = "front_camera"
MAX_GAP = 0.05  # seconds between a sweep and its images; sweeps are 0.1 s apart
FORWARD_LIDAR = 1  # number of the second, forward-facing LiDAR in points and labels
VEHICLES = (
    "Car",
    "Pickup Truck",
    "Medium-sized Truck",
    "Semi-truck",
    "Bus",
    "Other Vehicle - Uncommon",
    "Tram / Subway",
)
VEHICLES += ("Other Vehicle - Construction Vehicle", "Emergency Vehicle", "Towed Object", "Train")
CATEGORIES: dict[str, str] = dict.fromkeys(VEHICLES, "vehicle")
CATEGORIES |= dict.fromkeys(("Pedestrian", "Pedestrian with Object"), "pedestrian")
CATEGORIES |= dict.fromkeys(("Bicycle", "Motorcycle", "Motorized Scooter", "Other Vehicle - Pedicab"), "cyclist")

Array = np.ndarray


def load(path: Path) -> SceneData:
    """Read the sequence in folder `path`; no image and no sweep is decoded.

    Raises:
        ValueError: the folder is not a sequence, or a file is missing or broken.
    """
    try:
        return start_at_vehicle(_scene(path))
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a PandaSet sequence ({reason(repr(error))}); download it again.") from error


def _scene(path: Path) -> SceneData:
    stamps, lidar = _track(path / "lidar")
    cameras = sorted(folder.name for folder in (path / "camera").iterdir() if (folder / "poses.json").is_file())
    frames = [frame for camera in cameras for frame in _frames(path / "camera" / camera, stamps)]
    return SceneData(
        name=f"pandaset_{path.name}",
        source="PandaSet",
        license="CC BY 4.0 and the PandaSet dataset terms of use",
        times=stamps - stamps[0],
        world_from_ego=ego_from_front_camera(_front_poses(path / "camera" / FRONT, stamps)),
        frames=tuple(sorted(frames, key=lambda frame: frame.time_index)),
        sweeps=tuple(_sweep(path / f"lidar/{step:02d}.pkl.gz", step, lidar[step]) for step in range(len(stamps))),
        boxes=tuple(box for step in range(len(stamps)) for box in _boxes(path, step)),
    )


def _frames(folder: Path, stamps: Float[Array, "T"]) -> list[Frame]:
    intrinsic = read_object(folder / "intrinsics.json", "fx")
    K = pinhole(intrinsic["fx"], intrinsic["fy"], intrinsic["cx"] + 0.5, intrinsic["cy"] + 0.5)
    times, poses = _track(folder)
    files = [folder / f"{number:02d}.jpg" for number in range(len(times))]
    size = next((image_size(file) for file in files if file.is_file()), None)
    if size is None:
        return []
    numbers = np.arange(len(times))  # those of the sweeps, unless one of the two lists is incomplete
    if len(times) != len(stamps):
        numbers = nearest(times, stamps)
        numbers = np.where(np.abs(times[numbers] - stamps) <= MAX_GAP, numbers, -1)
    return [
        Frame(
            camera=folder.name,
            time_index=step,
            time=float(times[number] - stamps[0]),
            K=K,
            world_from_camera=poses[number],
            width=size[0],
            height=size[1],
            image=ImageFile(files[number]),
            exposure_id=step,
        )
        for step, number in enumerate(numbers.tolist())
        if number >= 0
    ]


def _sweep(file: Path, step: int, world_from_lidar: Float[Array, "4 4"]) -> LidarSweep:
    def compute() -> Float[Array, "N 4"]:
        table = read_table(file)
        missing = sorted({"x", "y", "z", "i"} - set(table))
        if missing:
            raise ValueError(f"{file}: has no column {missing[0]!r}; download it again.")
        world = np.stack([table[axis] for axis in "xyz"], -1).astype(float)
        points = transform(invert_rigid(world_from_lidar), world)
        return np.concatenate([points, table["i"][:, None].astype(float) / 255], 1).astype(np.float32)

    return LidarSweep(step, world_from_lidar, Source(str(file), compute, file))


def _boxes(path: Path, step: int) -> list[Box]:
    file = path / f"annotations/cuboids/{step:02d}.pkl.gz"
    if not file.is_file():
        return []
    table = read_table(file)
    boxes = []
    for i in np.flatnonzero(table["cuboids.sensor_id"].astype(float) != FORWARD_LIDAR):
        # At yaw 0 an object points along y; its length is dimensions.y.
        cos, sin = np.cos(table["yaw"][i] + np.pi / 2), np.sin(table["yaw"][i] + np.pi / 2)
        center, size = (
            np.array([table[f"{key}.{axis}"][i] for axis in "xyz"], float) for key in ("position", "dimensions")
        )
        world_from_object = rigid(np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], float), center)
        category = CATEGORIES.get(str(table["label"][i]), "other")
        boxes.append(Box(str(table["uuid"][i]), category, step, world_from_object, size[[1, 0, 2]]))
    return boxes


def _track(folder: Path) -> tuple[Float[Array, "T"], Float[Array, "T 4 4"]]:
    """Read the times (seconds) and world_from_sensor of a sensor."""
    times, records = np.array(_list(folder / "timestamps.json"), float), _list(folder / "poses.json")
    if len(records) != len(times):
        raise ValueError(f"{folder}: has {len(records)} poses for {len(times)} times; download the sequence again.")
    quaternions = np.array([[record["heading"][key] for key in "wxyz"] for record in records], float)
    positions = np.array([[record["position"][key] for key in "xyz"] for record in records], float)
    return times, pose(quaternions, positions)


def _front_poses(folder: Path, stamps: Float[Array, "T"]) -> Float[Array, "T 4 4"]:
    """Read the pose of the front camera at every sweep."""
    times, poses = _track(folder)
    return poses if len(times) == len(stamps) else poses[nearest(times, stamps)]


def _list(path: Path) -> list:
    try:
        content = read_json(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid JSON ({reason(error)}); download it again.") from error
    if not isinstance(content, list) or not content:
        raise ValueError(f"{path}: holds no list of entries; download it again.")
    return content
