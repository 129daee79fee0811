"""Parse KITTI's files: calibrations, GPS/IMU poses, LiDAR scans, tracklets and tracking labels.

Formats: the read-me files of KITTI's development kits, and Geiger et al., Vision meets Robotics, 2013.
"""

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float, Float32

from ff_jax.data.formats.common import rigid
from ff_jax.runtime.untrusted_files import read_file, reason

EARTH_RADIUS = 6378137.0  # meters
CATEGORIES = {"Car": "vehicle", "Van": "vehicle", "Truck": "vehicle", "Tram": "vehicle", "Cyclist": "cyclist"}
CATEGORIES |= {"Pedestrian": "pedestrian", "Person": "pedestrian", "Person (sitting)": "pedestrian"}

Array = np.ndarray


class Label(NamedTuple):
    """One box at one time step."""

    track: str
    kind: str
    step: int
    size: tuple[float, float, float]  # length, width, height
    sensor_from_object: Float[Array, "4 4"]


def read_numbers(path: Path, columns: int) -> Float[Array, "N C"]:
    """Read the first `columns` numbers of every line.

    Raises:
        ValueError: the file is missing or not such a table.
    """
    rows = [line.split()[:columns] for line in read_text(path).splitlines() if line.strip()]
    try:
        return np.array(rows, float).reshape(-1, columns)
    except ValueError as error:
        raise ValueError(
            f"{path}: not a table of {columns} numbers a line ({reason(error)}); restore the file."
        ) from error


def read_calibration(path: Path) -> dict[str, Float[Array, "n"]]:
    """Read the entries `name: numbers` of a calibration file; other entries are left out.

    Raises:
        ValueError: the file is missing.
    """
    entries = {}
    for line in read_text(path).splitlines():
        name, *words = line.replace(":", " ", 1).split() or [""]
        try:
            entries[name] = np.array(words, float)
        except ValueError:
            continue  # a date
    return entries


def matrix(entries: dict[str, Float[Array, "n"]], name: str, path: Path, columns: int) -> Float[Array, "3 C"]:
    """Read the entry `name` of a calibration as a matrix of three rows.

    Raises:
        ValueError: there is no such entry.
    """
    values = entries.get(name, np.zeros(0))
    if values.size != 3 * columns:
        raise ValueError(f"{path}: has no 3x{columns} matrix {name}; download it again.")
    return values.reshape(3, columns)


def read_text(path: Path) -> str:
    """Read the text of a file.

    Raises:
        ValueError: the file is missing or not a text file.
    """
    try:
        return read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not a text file; download it again.") from error


def read_scan(path: Path) -> Float32[Array, "N 4"]:
    """Read x, y, z (meters) and reflectance of a LiDAR scan.

    Raises:
        ValueError: the file is missing or truncated.
    """
    data = read_file(path)
    if len(data) % 16 or not data:
        raise ValueError(f"{path}: has {len(data)} bytes, not four numbers of 4 bytes a point; download it again.")
    return np.frombuffer(data, "<f4").reshape(-1, 4)


def gps_poses(rows: Float[Array, "T C"]) -> Float[Array, "T 4 4"]:
    """Compute world_from_imu of GPS/IMU rows: latitude, longitude (degrees), altitude, roll, pitch, yaw (radians), ...

    The world is the Mercator projection at the latitude of the first row: x east, y north, z up.
    """
    latitude, longitude = np.radians(rows[:, 0]), np.radians(rows[:, 1])
    scale = EARTH_RADIUS * np.cos(latitude[0])
    east, north = scale * longitude, scale * np.log(np.tan(np.pi / 4 + latitude / 2))
    roll, pitch, yaw = rows[:, 3:6].T
    rotation = about("z", yaw) @ about("y", pitch) @ about("x", roll)
    return rigid(rotation, np.stack([east, north, rows[:, 2]], -1))


def about(axis: str, angle: Float[Array, "T"]) -> Float[Array, "T 3 3"]:
    """Build right-handed rotations about one of the axes "x", "y", "z"."""
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    result = np.broadcast_to(np.eye(3), (len(angle), 3, 3)).copy()
    result[:, first, first] = result[:, second, second] = np.cos(angle)
    result[:, first, second], result[:, second, first] = -np.sin(angle), np.sin(angle)
    return result


def read_tracklets(path: Path) -> list[Label]:
    """Read the boxes of a tracklet_labels.xml, in the LiDAR frame; its positions are at the bottom of the box.

    Raises:
        ValueError: the file is missing or of another type.
    """
    labels = []
    try:
        for number, item in enumerate(ElementTree.fromstring(read_file(path)).findall("./tracklets/item")):
            height, width, length = (float(_entry(item, key)) for key in "hwl")
            for step, pose in enumerate(item.findall("./poses/item"), int(_entry(item, "first_frame"))):
                center = np.array([float(_entry(pose, key)) for key in ("tx", "ty", "tz")])
                rotation = about("z", np.array([float(_entry(pose, "rz"))]))[0]
                lidar_from_object = rigid(rotation, center + np.array([0, 0, height / 2]))
                size = length, width, height
                labels.append(Label(str(number), _entry(item, "objectType"), step, size, lidar_from_object))
    except (ElementTree.ParseError, TypeError) as error:
        raise ValueError(f"{path} is damaged or of another type ({reason(error)}); download it again.") from error
    return labels


def _entry(item: ElementTree.Element, key: str) -> str:
    text = item.findtext(key)
    if text is None:
        raise TypeError(f"an entry {key} is missing")
    return text


def read_labels(path: Path) -> list[Label]:
    """Read the boxes of a tracking label file, in the frame of the rectified camera 0.

    Positions are at the bottom of the box; rotation_y turns the object's forward direction from x towards -z.

    Raises:
        ValueError: the file is missing or of another type.
    """
    labels = []
    for words in map(str.split, read_text(path).splitlines()):
        try:
            height, width, length, x, y, z, turn = map(float, words[10:17])
            step, track, kind = int(words[0]), words[1], words[2]
        except (IndexError, ValueError) as error:
            raise ValueError(f"{path} is not a file of tracking labels ({reason(error)}); restore the file.") from error
        cos, sin = np.cos(turn), np.sin(turn)
        axes = np.array([[cos, sin, 0], [0, 0, -1], [-sin, cos, 0]])
        if kind != "DontCare":
            camera_from_object = rigid(axes, np.array([x, y - height / 2, z]))
            labels.append(Label(track, kind, step, (length, width, height), camera_from_object))
    return labels
