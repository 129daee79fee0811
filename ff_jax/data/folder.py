"""Write scene data to a folder and read it back; docs/scene_contract.md specifies the format."""

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float
from PIL import Image

from ff_jax.data.lazy_arrays import ImageFile, MaskFile, PointFile, Source
from ff_jax.data.paths import inside
from ff_jax.data.scene_data import MASKS, Box, Frame, Lane, LidarSweep, Readout, SceneData, SparsePoints
from ff_jax.runtime.atomic_files import explain_full_disk
from ff_jax.runtime.untrusted_files import read_json, read_npz, reason

FORMAT = "driving-scene"
VERSION = 1
LINES = ("rows", "columns")  # of a read-out, indexed by `Readout.columns`
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")  # of files that are copied byte for byte

Array = np.ndarray
T = TypeVar("T")


def write_folder(scene: SceneData, path: Path) -> Path:
    """Write a scene as a folder, atomically: the folder is complete or absent.

    Image files are copied byte for byte; computed arrays are stored as 8-bit PNG or float32 .npz.

    Raises:
        ValueError: `path` exists, or a source of the scene cannot be loaded.
        DiskFullError: the disk is full.
    """
    if path.exists():
        raise ValueError(f"{path} exists; remove it or choose another folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same parent, so that the rename stays within one file system.
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        with explain_full_disk(path):
            _write(scene, temporary)
        temporary.chmod(0o755)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return path


def read_folder(path: Path) -> SceneData:
    """Read a scene folder; images and LiDAR points stay on disk.

    Raises:
        ValueError: scene.json is missing, or some of its entries are invalid (the first is named, the others counted).
    """
    scene, problems = parse(path)
    if problems or scene is None:
        raise ValueError(first_problem(problems))
    return scene


def first_problem(problems: Sequence[str]) -> str:
    """Make one sentence of the first problem and the number of the others."""
    others = f" ({len(problems) - 1} more problems)" if len(problems) > 1 else ""
    return f"{problems[0].rstrip('.')}{others}."


def parse(path: Path) -> tuple[SceneData | None, list[str]]:
    """Read the valid entries of a scene folder, and list the problems of the others."""
    file = path / "scene.json"
    try:
        content = read_json(file)
    except ValueError as error:
        return None, [str(error)]
    actual = (content.get("format"), content.get("version")) if isinstance(content, dict) else (None, None)
    if actual != (FORMAT, VERSION):
        return None, [f"{file}: format and version are {actual}; expected {(FORMAT, VERSION)}: convert it again."]
    problems: list[str] = []
    head = _try(lambda: _read_head(content), f"{file}", problems)
    readers = {"frames": _read_frame, "sweeps": _read_sweep, "boxes": _read_box, "lanes": _read_lane}
    lists = {key: _read_list(path, content, key, read, problems) for key, read in readers.items()}
    points = None
    if content.get("points") is not None:
        points = _try(lambda: _read_sparse(inside(path, content["points"])), f"{file}: points", problems)
    if head is None:
        return None, problems
    world_from_files = np.eye(4)
    if "world_from_files" in content:
        read = _try(lambda: _array(content, "world_from_files", (4, 4)), f"{file}", problems)
        world_from_files = world_from_files if read is None else read
    has_meters = content.get("has_meters", True) is True
    return SceneData(*head, **lists, points=points, has_meters=has_meters, world_from_files=world_from_files), problems


def _read_list(root: Path, content: dict, key: str, read: Callable, problems: list[str]) -> tuple:
    """Read a list of records; invalid ones are reported and left out."""
    records, items = content.get(key, []), []
    if not isinstance(records, list):
        problems.append(f"{root}/scene.json: {key} is not a list; make it one.")
        return ()
    for number, record in enumerate(records):
        file = (record.get("image") or record.get("file")) if isinstance(record, dict) else None
        where = f"{root}/scene.json: {key}[{number}]" + (f" ({file})" if file else "")
        item = _try(lambda record=record: read(root, _object(record)), where, problems)
        items += [] if item is None else [item]
    return tuple(items)


def _write(scene: SceneData, root: Path) -> None:
    content = {
        "format": FORMAT,
        "version": VERSION,
        "name": scene.name,
        "source": scene.source,
        "license": scene.license,
        "times": scene.times.tolist(),
        "world_from_ego": scene.world_from_ego.tolist(),
        "frames": [_write_frame(root, i, frame) for i, frame in enumerate(scene.frames)],
        "sweeps": [_write_sweep(root, i, sweep) for i, sweep in enumerate(scene.sweeps)],
        "boxes": [_write_box(box) for box in scene.boxes],
        "lanes": [{"kind": lane.kind, "points": lane.points.tolist()} for lane in scene.lanes],
        "points": None if scene.points is None else "points.npz",
        "has_meters": scene.has_meters,
        "world_from_files": scene.world_from_files.tolist(),
    }
    if scene.points is not None and scene.points.rgb is not None:
        np.savez_compressed(root / "points.npz", xyz=scene.points.xyz, rgb=scene.points.rgb)
    elif scene.points is not None:
        np.savez_compressed(root / "points.npz", xyz=scene.points.xyz)
    (root / "scene.json").write_text(json.dumps(content))


def _write_frame(root: Path, number: int, frame: Frame) -> dict:
    stem = f"{number:06d}_{_safe_name(frame.camera)}"
    return {
        "camera": frame.camera,
        "time_index": frame.time_index,
        "time": frame.time,
        "K": frame.K.tolist(),
        "distortion": None if frame.distortion is None else frame.distortion.tolist(),
        "world_from_camera": frame.world_from_camera.tolist(),
        "width": frame.width,
        "height": frame.height,
        "exposure_id": frame.exposure_id,
        "split": frame.split,
        "image": _write_pixels(frame.image, root, f"images/{stem}"),
        "masks": {k: _write_pixels(s, root, f"masks/{stem}_{k}") for k, s in frame.masks.items()},
        "readout": _write_readout(frame.readout),
    }


def _write_readout(readout: Readout | None) -> dict | None:
    return readout and {"motion": readout.motion.tolist(), "lines": LINES[readout.columns]}


def _read_readout(value: Any) -> Readout | None:
    if value is None:
        return None
    record = _object(value, "readout")
    lines = _typed(record, "lines", str)
    if lines not in LINES:
        raise ValueError(f"invalid readout {lines=}: expected {' or '.join(LINES)}")
    return Readout(_array(record, "motion", (6,)), lines == LINES[True])


def _write_sweep(root: Path, number: int, sweep: LidarSweep) -> dict:
    name = f"lidar/{number:06d}_{_safe_name(sweep.sensor)}.npz"
    (root / "lidar").mkdir(exist_ok=True)
    xyz, intensity = sweep.load()
    np.savez_compressed(root / name, xyz=xyz, intensity=intensity)
    pose = sweep.world_from_lidar.tolist()
    return {"time_index": sweep.time_index, "world_from_lidar": pose, "sensor": sweep.sensor, "file": name}


def _write_box(box: Box) -> dict:
    return {
        "track_id": box.track_id,
        "category": box.category,
        "time_index": box.time_index,
        "world_from_object": box.world_from_object.tolist(),
        "size": box.size.tolist(),
        "num_points": box.num_points,
    }


def _write_pixels(source: Source, root: Path, stem: str) -> str:
    """Write an image or a mask, and return its path relative to `root`."""
    file = source.path if isinstance(source, ImageFile | MaskFile) else None
    suffix = file.suffix.lower() if file else ""
    name = stem + (suffix if suffix in IMAGE_SUFFIXES else ".png")
    (root / name).parent.mkdir(exist_ok=True)
    if file and suffix in IMAGE_SUFFIXES and file.is_file():
        shutil.copyfile(file, root / name)
    else:
        pixels = np.clip(np.rint(source.load() * 255), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / name)
    return name


def _safe_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]", "_", text)


def _read_head(content: dict) -> tuple[str, str, str, Float[Array, "T"], Float[Array, "T 4 4"]]:
    times = _array(content, "times", (None,))
    poses = _array(content, "world_from_ego", (len(times), 4, 4))
    if "license" not in content and "licence" in content:  # the spelling of earlier releases
        content = content | {"license": content["licence"]}
    name, source, license = (_typed(content, key, str) for key in ("name", "source", "license"))
    return name, source, license, times, poses


def _read_frame(root: Path, record: dict) -> Frame:
    masks = {kind: MaskFile(inside(root, file)) for kind, file in _object(record.get("masks", {}), "masks").items()}
    unknown = sorted(set(masks) - set(MASKS))
    if unknown:
        raise ValueError(f"invalid mask {unknown[0]!r}: expected one of {', '.join(MASKS)}")
    return Frame(
        camera=_typed(record, "camera", str),
        time_index=_typed(record, "time_index", int),
        time=float(_typed(record, "time", float)),
        K=_array(record, "K", (3, 3)),
        world_from_camera=_array(record, "world_from_camera", (4, 4)),
        width=_typed(record, "width", int),
        height=_typed(record, "height", int),
        image=ImageFile(inside(root, record["image"])),
        distortion=None if record.get("distortion") is None else _array(record, "distortion", (None,)),
        exposure_id=_typed(record, "exposure_id", int),
        split=_typed(record, "split", str),
        masks=masks,
        readout=_read_readout(record.get("readout")),
    )


def _read_sweep(root: Path, record: dict) -> LidarSweep:
    points = PointFile(inside(root, record["file"]))
    pose, index = _array(record, "world_from_lidar", (4, 4)), _typed(record, "time_index", int)
    return LidarSweep(index, pose, points, _typed(record, "sensor", str))


def _read_box(root: Path, record: dict) -> Box:
    return Box(
        track_id=_typed(record, "track_id", str),
        category=_typed(record, "category", str),
        time_index=_typed(record, "time_index", int),
        world_from_object=_array(record, "world_from_object", (4, 4)),
        size=_array(record, "size", (3,)),
        num_points=_typed(record, "num_points", int),
    )


def _read_lane(root: Path, record: dict) -> Lane:
    return Lane(_typed(record, "kind", str), _array(record, "points", (None, 3)))


def _read_sparse(path: Path) -> SparsePoints:
    arrays = read_npz(path)
    if "xyz" not in arrays or arrays["xyz"].ndim != 2 or arrays["xyz"].shape[1] != 3:
        raise ValueError(f"{path}: expected an array 'xyz' of shape (N, 3)")
    if "rgb" in arrays and arrays["rgb"].shape != arrays["xyz"].shape:
        raise ValueError(f"{path}: rgb has shape {arrays['rgb'].shape}; expected {arrays['xyz'].shape}")
    return SparsePoints(arrays["xyz"], arrays.get("rgb"))


def _short(value: Any) -> str:
    """Format a value in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _object(value: Any, name: str = "the entry") -> dict:
    """Check that an entry is an object."""
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {_short(value)}; expected an object")
    return value


def _array(record: dict, key: str, shape: tuple[int | None, ...]) -> Float[Array, "..."]:
    """Read an array of numbers from a record; None in `shape` allows any length."""
    try:
        array = np.array(record[key])
    except ValueError as error:
        raise ValueError(f"{key} is not an array of numbers ({reason(error)})") from error
    if array.dtype.kind not in "iuf":  # text, booleans, null, and integers of more than 64 bits
        raise ValueError(f"{key} is not an array of numbers: {_first_odd(record[key])}")
    array = array.astype(float)
    if len(array.shape) != len(shape) or any(s not in (None, a) for s, a in zip(shape, array.shape, strict=True)):
        expected = "x".join("N" if length is None else str(length) for length in shape)
        raise ValueError(f"{key} has shape {array.shape}; expected {expected}")
    return array


def _first_odd(value: Any) -> str:
    """Find the first entry of nested lists that is no number of 64 bits."""
    if isinstance(value, list):
        return next(filter(None, map(_first_odd, value)), "")
    is_number = isinstance(value, float) or (type(value) is int and abs(value) < 2**63)
    return "" if is_number else _short(value)


def _typed(record: dict, key: str, kind: type[T]) -> T:
    """Read an entry of one type from a record; an integer is also a float."""
    value: Any = record[key]
    kinds: tuple[type, ...] = (int, float) if kind is float else (kind,)
    if type(value) not in kinds:  # a bool is an int to `isinstance`
        raise ValueError(f"{key} is {_short(value)}; expected {kind.__name__}")
    return value


def _try(read: Callable[[], T], where: str, problems: list[str]) -> T | None:
    """Call `read`; on an error add it to `problems` and return None."""
    try:
        return read()
    except KeyError as error:
        problems.append(f"{where}: {error.args[0]!r} is missing; add it.")
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        problems.append(f"{where}: {str(error).rstrip('.')}.")
    return None
