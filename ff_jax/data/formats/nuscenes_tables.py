"""Join the JSON tables of nuScenes into the records of one scene."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ff_jax.data.formats.common import choose, pose
from ff_jax.runtime.untrusted_files import read_json, reason

Array = np.ndarray


class Record(NamedTuple):
    """One measurement of one sensor."""

    time: int  # microseconds
    key: bool  # part of an annotated key frame
    file: str
    width: int
    height: int
    intrinsic: list  # 3x3, of cameras
    ego_from_sensor: Float[Array, "4 4"]
    world_from_ego: Float[Array, "4 4"]


class Tables(NamedTuple):
    """One scene."""

    name: str
    location: str  # of the map
    records: dict[str, list[Record]]  # of every channel, in order of time
    tracks: dict[str, list[dict]]  # annotations of every instance, in order of time


def read_tables(path: Path, version: str, scene: str) -> Tables:
    """Read the records of one scene; `version` and `scene` may be empty if there is only one.

    Raises:
        ValueError: no such version or scene, or a table is missing or broken.
    """
    versions = sorted(folder.name for folder in path.glob("v1.0-*") if (folder / "scene.json").is_file())
    folder = path / choose(version, versions, "version", path)
    try:
        scenes = {record["name"]: record for record in _table(folder, "scene").values()}
        scene_record = scenes[choose(scene, sorted(scenes), "scene", path)]
        samples = {
            token: record
            for token, record in _table(folder, "sample").items()
            if record["scene_token"] == scene_record["token"]
        }
        location = _table(folder, "log")[scene_record["log_token"]]["location"]
        return Tables(scene_record["name"], location, _records(folder, samples), _tracks(folder, samples))
    except (KeyError, TypeError, ValueError) as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{folder}: the tables lack an entry ({reason(repr(error))}); download them again.") from error


def _table(folder: Path, name: str) -> dict[str, dict]:
    """Read a table, by token."""
    return {record["token"]: record for record in read_json(folder / f"{name}.json")}


def _records(folder: Path, samples: dict[str, dict]) -> dict[str, list[Record]]:
    sensors, calibrations = _table(folder, "sensor"), _table(folder, "calibrated_sensor")
    poses, records = _table(folder, "ego_pose"), {}
    for record in _table(folder, "sample_data").values():
        if record["sample_token"] not in samples:
            continue
        sensor = calibrations[record["calibrated_sensor_token"]]
        entry = Record(
            time=record["timestamp"],
            key=record["is_key_frame"],
            file=record["filename"],
            width=record["width"],
            height=record["height"],
            intrinsic=sensor["camera_intrinsic"],
            ego_from_sensor=_pose(sensor),
            world_from_ego=_pose(poses[record["ego_pose_token"]]),
        )
        records.setdefault(sensors[sensor["sensor_token"]]["channel"], []).append(entry)
    return {channel: sorted(entries, key=lambda entry: entry.time) for channel, entries in sorted(records.items())}


def _tracks(folder: Path, samples: dict[str, dict]) -> dict[str, list[dict]]:
    instances, categories = _table(folder, "instance"), _table(folder, "category")
    tracks: dict[str, list[dict]] = {}
    for label in _table(folder, "sample_annotation").values():
        if label["sample_token"] in samples:
            name = categories[instances[label["instance_token"]]["category_token"]]["name"]
            time = samples[label["sample_token"]]["timestamp"]
            tracks.setdefault(label["instance_token"], []).append(label | {"time": time, "category": category(name)})
    return {track: sorted(labels, key=lambda label: label["time"]) for track, labels in tracks.items()}


def category(name: str) -> str:
    """Convert a category of nuScenes, such as vehicle.car or human.pedestrian.adult, to one of CATEGORIES."""
    if name.startswith(("vehicle.bicycle", "vehicle.motorcycle")):
        return "cyclist"
    return {"vehicle": "vehicle", "human": "pedestrian"}.get(name.split(".")[0], "other")


def _pose(record: dict) -> Float[Array, "4 4"]:
    return pose(np.array(record["rotation"], float), np.array(record["translation"], float))
