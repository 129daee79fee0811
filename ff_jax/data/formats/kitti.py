"""Read KITTI: a drive of the raw data, a sequence of odometry, a sequence of tracking.

The left camera is for training, the right one, half a meter to the right, for testing; the color cameras are read where
they are there, else the gray ones. A log may lack images: the names of the others are their rows in the tables. Images
are rectified, and the principal point is moved by half a pixel, because KITTI has pixel centers at integers. The ego
frame is that of the GPS/IMU unit (x forward, y left, z up), in odometry that of camera 0. Scans are not compensated for
the motion of the vehicle. LiDAR points inside boxes are not counted.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ff_jax.data.file_names import IMAGE_SUFFIXES, natural_key
from ff_jax.data.formats import kitti_files as files
from ff_jax.data.formats.common import choose, pinhole, rigid, start_at_vehicle
from ff_jax.data.formats.kitti_files import CATEGORIES, Label
from ff_jax.data.lazy_arrays import ImageFile, Source, image_size
from ff_jax.data.scene_data import Box, Frame, LidarSweep, SceneData, ego_from_front_camera, invert_rigid
from ff_jax.runtime.untrusted_files import reason

PERIOD = 0.1  # seconds, of data without time stamps
PAIRS = ({"left": 2, "right": 3}, {"left": 0, "right": 1})  # the color cameras, the gray cameras

Array = np.ndarray


class Rig(NamedTuple):
    """The calibration: P (3, 4) of the cameras, and transforms between the sensors."""

    projections: dict[str, Float[Array, "3 4"]]
    rectified_from_lidar: Float[Array, "4 4"]
    ego_from_rectified: Float[Array, "4 4"]  # rectified camera 0


class KittiFiles(NamedTuple):
    """The files of a log."""

    images: dict[str, dict[str, Path]]  # of each camera, by time step
    scans: Path
    steps: Sequence[str]  # file names of the time steps, without suffix


def load_raw(path: Path) -> SceneData:
    """Read a drive, the folder DATE_drive_NUMBER_sync; the calibration is in the parent folder.

    Raises:
        ValueError: a file is missing or damaged.
    """
    above = path.parent
    cameras = files.read_calibration(above / "calib_cam_to_cam.txt")
    lidar = _rigid_entry(above / "calib_velo_to_cam.txt")
    imu = _rigid_entry(above / "calib_imu_to_velo.txt")
    rectify = rigid(files.matrix(cameras, "R_rect_00", above / "calib_cam_to_cam.txt", 3), np.zeros(3))
    numbers, layout = _layout(path, "image_0{}/data", "velodyne_points/data")
    projections = {
        n: files.matrix(cameras, f"P_rect_0{i}", above / "calib_cam_to_cam.txt", 4) for n, i in numbers.items()
    }
    rig = Rig(projections, rectify @ lidar, invert_rigid(rectify @ lidar @ imu))
    rows = np.concatenate([files.read_numbers(path / f"oxts/data/{step}.txt", 6) for step in layout.steps])
    tracklets = path / "tracklet_labels.xml"
    labels = files.read_tracklets(tracklets) if tracklets.is_file() else []
    times = _stamps(path / f"image_0{numbers['left']}/timestamps.txt", layout.steps)
    return _scene(path.name, "KITTI raw", times, files.gps_poses(rows), rig, layout, labels, rig.rectified_from_lidar)


def load_odometry(path: Path) -> SceneData:
    """Read a sequence of the odometry data, the folder sequences/NUMBER, with its poses in ../poses/NUMBER.txt.

    Raises:
        ValueError: a file is missing or damaged; the sequences from 11 on have no poses.
    """
    numbers, layout = _layout(path, "image_{}", "velodyne")
    lidar = "Tr" if layout.scans.is_dir() else None
    rig = _rig(path / "calib.txt", numbers, lidar, invert_rigid(ego_from_front_camera(np.eye(4))))
    table = _rows(path.absolute().parents[1] / f"poses/{path.name}.txt", 12, layout.steps).reshape(-1, 3, 4)
    poses = ego_from_front_camera(rigid(table[:, :, :3], table[:, :, 3]))
    times = _rows(path / "times.txt", 1, layout.steps)[:, 0]
    return _scene(f"odometry_{path.name}", "KITTI odometry", times, poses, rig, layout, [], np.eye(4))


def load_tracking(path: Path, sequence: str = "") -> SceneData:
    """Read a sequence of the tracking data in `path`, the folder that holds image_02/, calib/, oxts/ and others.

    Raises:
        ValueError: no such sequence, or a file is missing or damaged.
    """
    sequence = choose(sequence, sorted(folder.name for folder in (path / "image_02").iterdir()), "sequence", path)
    calibration = path / f"calib/{sequence}.txt"
    numbers, layout = _layout(path, f"image_0{{}}/{sequence}", f"velodyne/{sequence}")
    rig = _rig(calibration, numbers, "Tr_velo_cam", np.eye(4))
    entries = files.read_calibration(calibration)
    rectify = rigid(files.matrix(entries, "R_rect", calibration, 3), np.zeros(3))
    imu = _padded(files.matrix(entries, "Tr_imu_velo", calibration, 4))
    lidar = rectify @ rig.rectified_from_lidar
    rig = Rig(rig.projections, lidar, invert_rigid(lidar @ imu))
    poses = files.gps_poses(_rows(path / f"oxts/{sequence}.txt", 6, layout.steps))
    labeled = path / f"label_02/{sequence}.txt"
    labels = files.read_labels(labeled) if labeled.is_file() else []
    times = PERIOD * np.array([int(step) for step in layout.steps])
    return _scene(f"tracking_{sequence}", "KITTI tracking", times, poses, rig, layout, labels, np.eye(4))


def _scene(
    name: str,
    source: str,
    times: Float[Array, "T"],
    poses: Float[Array, "P 4 4"],
    rig: Rig,
    layout: KittiFiles,
    labels: list[Label],
    rectified_from_label: Float[Array, "4 4"],
) -> SceneData:
    # Labels count file names, and a log may lack some.
    index = {int(step): i for i, step in enumerate(layout.steps)}
    labels = [label._replace(step=index[label.step]) for label in labels if label.step in index]
    steps = [
        (i, step, pose @ rig.ego_from_rectified) for i, (step, pose) in enumerate(zip(layout.steps, poses, strict=True))
    ]
    scans = ((i, layout.scans / f"{step}.bin", pose) for i, step, pose in steps)
    scene = SceneData(
        name=name,
        source=source,
        license="CC BY-NC-SA 3.0 (KITTI)",
        times=times - times[0],
        world_from_ego=poses,
        frames=tuple(
            frame
            for i, step, pose in steps
            for frame in _frames(layout, rig, i, step, float(times[i] - times[0]), pose)
        ),
        sweeps=tuple(_sweep(i, file, pose @ rig.rectified_from_lidar) for i, file, pose in scans if file.is_file()),
        boxes=tuple(_box(label, steps[label.step][2] @ rectified_from_label) for label in labels),
    )
    return start_at_vehicle(scene)


def _frames(
    layout: KittiFiles, rig: Rig, index: int, step: str, time: float, world_from_rectified: Float[Array, "4 4"]
) -> list[Frame]:
    frames = []
    for camera, images in layout.images.items():
        if step in images:
            file = images[step]
            P, (width, height) = rig.projections[camera], image_size(file)
            K = pinhole(P[0, 0], P[1, 1], P[0, 2] + 0.5, P[1, 2] + 0.5)
            rectified_from_camera = rigid(np.eye(3), -np.linalg.solve(P[:, :3], P[:, 3]))
            frames.append(
                Frame(
                    camera=camera,
                    time_index=index,
                    time=time,
                    K=K,
                    world_from_camera=world_from_rectified @ rectified_from_camera,
                    width=width,
                    height=height,
                    image=ImageFile(file),
                    exposure_id=index,  # both cameras are synchronized
                    split="train" if camera == "left" else "test",
                )
            )
    return frames


def _sweep(index: int, file: Path, pose: Float[Array, "4 4"]) -> LidarSweep:
    return LidarSweep(index, pose, Source(str(file), lambda: files.read_scan(file), file), "velodyne")


def _box(label: Label, world_from_sensor: Float[Array, "4 4"]) -> Box:
    pose, category = world_from_sensor @ label.sensor_from_object, CATEGORIES.get(label.kind, "other")
    return Box(label.track, category, label.step, pose, np.array(label.size))


def _rig(path: Path, numbers: dict[str, int], lidar: str | None, ego_from_rectified: Float[Array, "4 4"]) -> Rig:
    """Read the calibration of odometry and tracking; `lidar` names its entry, None without scans."""
    entries = files.read_calibration(path)
    projections = {name: files.matrix(entries, f"P{number}", path, 4) for name, number in numbers.items()}
    transform = _padded(files.matrix(entries, lidar, path, 4)) if lidar else np.eye(4)
    return Rig(projections, transform, ego_from_rectified)


def _rigid_entry(path: Path) -> Float[Array, "4 4"]:
    entries = files.read_calibration(path)
    return rigid(files.matrix(entries, "R", path, 3), files.matrix(entries, "T", path, 1)[:, 0])


def _padded(transform: Float[Array, "3 4"]) -> Float[Array, "4 4"]:
    return rigid(transform[:, :3], transform[:, 3])


def _layout(path: Path, pattern: str, scans: str) -> tuple[dict[str, int], KittiFiles]:
    """List the files of a log, and the numbers of its cameras.

    Args:
        path: folder of the log.
        pattern: folder of the images of a camera, with {} for its number.
        scans: folder of the scans.

    Raises:
        ValueError: there are no images of a left camera, or their names are not numbers.
    """
    for numbers in PAIRS:
        images = {name: _images(path / pattern.format(number)) for name, number in numbers.items()}
        if images["left"]:
            return numbers, KittiFiles(images, path / scans, tuple(images["left"]))
    folders = " and ".join(str(path / pattern.format(numbers["left"])) for numbers in PAIRS)
    raise ValueError(f"{folders} hold no images that are named by a number; download the images of this log.")


def _images(folder: Path) -> dict[str, Path]:
    """List the images of a folder by their names, in order."""
    paths = (path for path in folder.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.stem.isdecimal())
    return {path.stem: path for path in sorted(paths, key=natural_key)}


def _rows(path: Path, columns: int, steps: Sequence[str]) -> Float[Array, "T C"]:
    """Read the rows of a table that belong to `steps`, which are numbers of rows unless the table has a row for each.

    Raises:
        ValueError: the file is missing or damaged, or has too few rows.
    """
    table = files.read_numbers(path, columns)
    return table if len(table) == len(steps) else table[_indices(path, len(table), steps)]


def _indices(path: Path, count: int, steps: Sequence[str]) -> list[int]:
    indices = [int(step) for step in steps]
    if max(indices) >= count:
        raise ValueError(f"{path}: has {count} rows, and none for image {max(indices)}; download it again.")
    return indices


def _stamps(path: Path, steps: Sequence[str]) -> Float[Array, "T"]:
    """Read the times of `steps`, seconds since the first one."""
    lines = files.read_text(path).splitlines()
    try:
        stamps = [datetime.fromisoformat(lines[i]) for i in _indices(path, len(lines), steps)]
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(
            f"{path}: does not hold a time for every image ({reason(error)}); download it again."
        ) from error
    return np.array([(stamp - stamps[0]).total_seconds() for stamp in stamps])
