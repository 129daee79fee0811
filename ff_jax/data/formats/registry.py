"""Find out in which format a log is stored, and read it.

A source is a path, with options behind a question mark: `PATH?scene=scene-0061&frames=0:40`. The option `frames`
(first time step and the one behind the last) every format has; the others are the arguments of the reader's `load`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import parse_qsl

from ff_jax.data.folder import read_folder
from ff_jax.data.formats import (
    av2,
    cameras_json,
    colmap,
    dgp,
    kitti,
    nerfstudio,
    nuscenes,
    pandaset,
    waymo_frame,
    waymo_v1,
    waymo_v2,
)
from ff_jax.data.formats.common import cut
from ff_jax.data.scene_data import SceneData


class Format(NamedTuple):
    """One format: what it is called, how its logs are recognised, its reader and the reader's options."""

    name: str
    holds: Callable[[Path], bool]
    load: Callable[..., SceneData]
    options: Mapping[str, Callable[[str], object]] = MappingProxyType({})


def _has(*patterns: str) -> Callable[[Path], bool]:
    """Return whether a folder holds something for every one of these patterns."""
    return lambda path: path.is_dir() and all(any(path.glob(pattern)) for pattern in patterns)


def boolean(text: str) -> bool:
    """Return the truth value that "yes" or "no" names.

    Raises:
        ValueError: another text.
    """
    if text not in ("yes", "no"):
        raise ValueError(f"{text!r} is neither yes nor no.")
    return text == "yes"


def _read_tfds(path: Path, log: str = "") -> SceneData:
    from ff_jax.data.tfds import reader  # TFDS takes seconds to import

    return reader.read_log(path, log)


NUSCENES = {"scene": str, "version": str, "sweeps": boolean}
FORMATS = (
    Format("scene folder (scene.json)", lambda path: (path / "scene.json").is_file(), read_folder),
    Format("cameras.json", _has("cameras.json"), cameras_json.load),
    Format("frame.json of Waymo", _has("frame.json"), waymo_frame.load),
    Format("Waymo version 1 (*.tfrecord)", lambda path: path.suffix == ".tfrecord", waymo_v1.load),
    Format("Waymo version 2", _has("camera_image/*.parquet", "vehicle_pose"), waymo_v2.load, {"segment": str}),
    Format("DGP scene", _has("scene_*.json", "calibration"), dgp.load),
    Format("Argoverse 2 log", _has(av2.POSES), av2.load),
    Format("KITTI raw drive", _has("oxts/data", "image_02/data"), kitti.load_raw),
    Format("KITTI odometry sequence", _has("calib.txt", "image_2"), kitti.load_odometry),
    Format("KITTI tracking", _has("oxts", "calib", "image_02"), kitti.load_tracking, {"sequence": str}),
    Format("nuScenes", _has("v1.0-*/scene.json"), nuscenes.load, NUSCENES),
    Format("TFDS data set of ff_driving", _has("ff_driving/log"), _read_tfds, {"log": str}),
    Format("PandaSet sequence", _has("camera/front_camera", "lidar/poses.json"), pandaset.load),
    Format("Nerfstudio data set", _has("transforms.json"), nerfstudio.load, {"scale": float}),
    Format("COLMAP model", _has("sparse"), colmap.load, {"scale": float}),
    Format("COLMAP model", colmap.is_model, colmap.load, {"scale": float}),
)


def open_source(source: str) -> SceneData:
    """Read the log that `source` names: a path, and options behind a question mark.

    Raises:
        ValueError: the path is no log of a known format, an option is not one of the format, or the log is broken.
    """
    location, _, query = source.partition("?")
    path, options = Path(location), dict(parse_qsl(query, keep_blank_values=True))
    for format in FORMATS:
        if format.holds(path):
            frames = _frames(options.pop("frames", None), source)
            arguments = {key: _argument(format, key, value) for key, value in options.items()}
            if format.load is waymo_v1.load:  # its records are long: only those that are wanted are read
                return waymo_v1.load(path, frames)
            scene = format.load(path, **arguments)
            return cut(scene, frames) if frames else scene
    names = ", ".join(dict.fromkeys(format.name for format in FORMATS))
    raise ValueError(
        f"{location} holds neither scene.json nor cameras.json nor another known log ({names}): name a log, or use "
        "'world' for the built-in street."
    )


def _frames(text: str | None, source: str) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        first, stop = map(int, text.split(":"))
    except ValueError:
        raise ValueError(f"{source}: frames={text!r} is no range of time steps; write frames=FIRST:STOP.") from None
    return first, stop


def _argument(format: Format, key: str, value: str) -> object:
    if key not in format.options:
        known = ", ".join(["frames", *format.options])
        raise ValueError(f"a {format.name} has no option {key!r}; it has {known}.")
    try:
        return format.options[key](value)
    except ValueError:
        raise ValueError(f"{key}={value!r} is no {format.options[key].__name__}; give one.") from None
