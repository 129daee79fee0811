"""Detect the format of a log and read it.

A source is a path with options after a question mark: `PATH?scene=scene-0061&frames=0:40`. All formats have the option
`frames` (first time step, and the one after the last); the others are the arguments of the reader's `load`.
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
from ff_jax.data.formats.common import cut, without_missing
from ff_jax.data.paths import check_scene_files
from ff_jax.data.pictures import find_pictures
from ff_jax.data.scene_data import SceneData, with_dense_exposures
from ff_jax.data.units import parse_scale
from ff_jax.runtime.untrusted_files import reason


class Format(NamedTuple):
    """One format: its name, the test for its logs, its reader and the reader's options."""

    name: str
    matches: Callable[[Path], bool]
    load: Callable[..., SceneData]
    options: Mapping[str, Callable[[str], object]] = MappingProxyType({})


def _has(*patterns: str) -> Callable[[Path], bool]:
    """Make a test whether a folder has a file for every pattern."""
    return lambda path: path.is_dir() and all(any(path.glob(pattern)) for pattern in patterns)


def boolean(text: str) -> bool:
    """Parse "yes" or "no".

    Raises:
        ValueError: another text.
    """
    if text not in ("yes", "no"):
        raise ValueError(f"invalid {text!r}: expected yes or no.")
    return text == "yes"


def _read_tfds(path: Path, log: str = "") -> SceneData:
    from ff_jax.data.tfds import reader  # TFDS takes seconds to import

    return reader.read_log(path, log)


# Files that name the folder of their log as well as it does itself.
INDEX_FILES = ("scene.json", "cameras.json", "frame.json", "transforms.json", "transforms_train.json")
INDEX_FILES += tuple(f"{stem}{suffix}" for stem in ("cameras", "images", "points3D") for suffix in (".bin", ".txt"))
MAX_LEVELS, MAX_FOLDERS = 3, 200  # folders that are looked at for a log near a path that is none

NUSCENES = {"scene": str, "version": str, "sweeps": boolean}
FORMATS = (
    Format("scene folder (scene.json)", lambda path: (path / "scene.json").is_file(), read_folder),
    Format("cameras.json", _has("cameras.json"), cameras_json.load),
    Format("frame.json of Waymo", _has("frame.json"), waymo_frame.load),
    Format("Waymo version 1 (*.tfrecord)", lambda path: path.suffix == ".tfrecord", waymo_v1.load),
    Format("Waymo version 2", _has("camera_image/*.parquet", "vehicle_pose"), waymo_v2.load, {"segment": str}),
    Format("DGP scene", _has("scene_*.json", "calibration"), dgp.load),
    Format("Argoverse 2 log", _has(av2.POSES), av2.load),
    Format("KITTI raw drive", _has("oxts/data", "image_0[02]/data"), kitti.load_raw),
    Format("KITTI odometry sequence", _has("calib.txt", "image_[02]"), kitti.load_odometry),
    Format("KITTI tracking", _has("oxts", "calib", "image_02"), kitti.load_tracking, {"sequence": str}),
    Format("nuScenes", _has("v1.0-*/scene.json"), nuscenes.load, NUSCENES),
    Format("TFDS data set of ff_driving", _has("ff_driving/log"), _read_tfds, {"log": str}),
    Format("PandaSet sequence", _has("camera/front_camera", "lidar/poses.json"), pandaset.load),
    Format("Nerfstudio data set", nerfstudio.is_data_set, nerfstudio.load, {"scale": parse_scale}),
    Format("COLMAP model", colmap.is_log, colmap.load, {"scale": parse_scale}),
)


def open_source(source: str) -> SceneData:
    """Read the log of a source: a path, and options after a question mark.

    Raises:
        ValueError: the path is not a log of a known format, the format lacks an option, or the log is broken.
    """
    location, _, query = source.partition("?")
    path, options = Path(location), dict(parse_qsl(query, keep_blank_values=True))
    try:
        path.exists()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise ValueError(f"{reason(repr(location))} is not the path of a log ({reason(error)}); correct it.") from error
    path = folder_of(path)
    format = find_format(path)
    if format is None:
        raise ValueError(_unknown(path))
    frames = _frames(options.pop("frames", None), source)
    arguments = {key: _argument(format, key, value) for key, value in options.items()}
    if format.load is waymo_v1.load:  # its records are long: read only the selected ones
        return waymo_v1.load(path, frames)
    scene = format.load(path, **arguments)
    scene = scene if format.load is read_folder else without_missing(scene, location)
    scene = with_dense_exposures(scene)
    check_scene_files(scene, colmap.root_of(path) if format.load is colmap.load else path)
    return cut(scene, frames) if frames else scene


def folder_of(path: Path) -> Path:
    """Return the folder of a log that is named by its index file; other paths stay."""
    return path.parent if path.name in INDEX_FILES and path.is_file() else path


def find_format(path: Path) -> Format | None:
    """Find the format of the log at `path`; None if it is of no known one."""
    return next((format for format in FORMATS if format.matches(path)), None)


def _unknown(path: Path) -> str:
    """Describe what is at a path that is no log, and what to do."""
    if not path.exists():
        return f"{path}: no such file or folder; use the path of a log, or 'world' for the synthetic street."
    if near := _near(path):
        format = find_format(near)
        return f"{path} is not a log, but {near} is one ({format.name if format else ''}); use that."
    pictures = find_pictures(path)
    if pictures:
        kind = "a video" if isinstance(pictures, Path) else f"{len(pictures)} images"
        return (
            f"{path} has {kind} without poses: find them with "
            f"`python -m experiments.prepare --source={path} --out=OUT` (needs pycolmap), with COLMAP or Nerfstudio."
        )
    names = ", ".join(dict.fromkeys(format.name for format in FORMATS))
    return (
        f"{path} is not a log of a known format ({names}); use the path of a log, or 'world' for the synthetic street."
    )


def _near(path: Path) -> Path | None:
    """Find a log next to a path that is none: above it, or the first one below it."""
    above = [folder for folder in path.absolute().parents[:MAX_LEVELS] if folder != Path(folder.anchor)]
    folders, below = [path] if path.is_dir() else [], []
    for _ in range(MAX_LEVELS):
        folders = [entry for folder in folders for entry in _folders(folder)][:MAX_FOLDERS]
        below += folders
    return next((folder for folder in (*above, *below) if find_format(folder)), None)


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []


def _frames(text: str | None, source: str) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        first, stop = map(int, text.split(":"))
    except ValueError:
        raise ValueError(f"{source}: invalid frames={text!r}: expected frames=FIRST:STOP.") from None
    return first, stop


def _argument(format: Format, key: str, value: str) -> object:
    if key not in format.options:
        names = ", ".join(["frames", *format.options])
        raise ValueError(f"invalid option {key!r} of a {format.name}: expected one of {names}.")
    parse = format.options[key]
    try:
        return parse(value)
    except ValueError:
        kind = "yes or no" if parse is boolean else parse.__name__
        raise ValueError(f"invalid ?{key}={value}: expected {kind}.") from None
