"""Shared by the readers: poses from quaternions, world origin, time ranges, categories, column tables."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Float, Int, Shaped

from ff_jax.data.formats.arrow_size import check_feather_size
from ff_jax.data.lazy_arrays import Source
from ff_jax.data.scene_data import SceneData
from ff_jax.runtime.untrusted_files import UnreadableFileError, check_decoded_size, check_regular, reason

Array = np.ndarray
_logger = logging.getLogger(__name__)


def pose(quaternion: Float[Array, "*n 4"], translation: Float[Array, "*n 3"]) -> Float[Array, "*n 4 4"]:
    """Build rigid transforms from quaternions (w, x, y, z; normalized here) and translations in meters."""
    w, x, y, z = np.moveaxis(quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    rotation = np.stack([np.stack(row, -1) for row in rows], -2)
    return rigid(rotation, translation)


def rigid(rotation: Float[Array, "*n 3 3"], translation: Float[Array, "*n 3"]) -> Float[Array, "*n 4 4"]:
    """Build 4x4 transforms from rotations and translations."""
    result = np.broadcast_to(np.eye(4), (*rotation.shape[:-2], 4, 4)).copy()
    result[..., :3, :3], result[..., :3, 3] = rotation, translation
    return result


def pinhole(fx: float, fy: float, cx: float, cy: float) -> Float[Array, "3 3"]:
    """Build K in pixels."""
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def nearest(times: Shaped[Array, "T"], queries: Shaped[Array, "N"]) -> Int[Array, "N"]:
    """Find the index of the entry of the sorted `times` nearest to each query."""
    after = np.clip(np.searchsorted(times, queries), 1, max(len(times) - 1, 1))
    closer = np.abs(times[after - 1] - queries) <= np.abs(times[np.minimum(after, len(times) - 1)] - queries)
    return np.where(closer, after - 1, after)


def without_missing(scene: SceneData, where: str) -> SceneData:
    """Leave out the images, masks and sweeps whose files are missing, with a warning that counts them.

    Time steps stay, so the others keep their times.

    Args:
        scene: the log.
        where: its place, for messages.

    Raises:
        ValueError: more than half of the images or of the sweeps are missing.
    """
    frames = tuple(frame for frame in scene.frames if _exists(frame.image))
    sweeps = tuple(sweep for sweep in scene.sweeps if _exists(sweep.points))
    if frames != scene.frames:
        first = next(frame.image for frame in scene.frames if not _exists(frame.image))
        _count_missing(where, "images", len(scene.frames) - len(frames), len(scene.frames), first)
    if sweeps != scene.sweeps:
        first = next(sweep.points for sweep in scene.sweeps if not _exists(sweep.points))
        _count_missing(where, "sweeps", len(scene.sweeps) - len(sweeps), len(scene.sweeps), first)
    masks = [source for frame in frames for source in frame.masks.values()]
    present = frozenset(source for source in masks if _exists(source))
    if len(present) < len(masks):
        _logger.warning("%s: %d of %d masks are missing and left out.", where, len(masks) - len(present), len(masks))
        kept = [{kind: source for kind, source in frame.masks.items() if source in present} for frame in frames]
        frames = tuple(replace(frame, masks=masks) for frame, masks in zip(frames, kept, strict=True))
    return replace(scene, frames=frames, sweeps=sweeps)


def _exists(source: Source) -> bool:
    return source.path is None or source.path.is_file()


def _count_missing(where: str, kind: str, missing: int, count: int, first: Source) -> None:
    """Warn of missing files; more than half of them is an error."""
    if missing > count / 2:
        raise ValueError(
            f"{where}: {missing} of {count} {kind} are missing, the first one is {first.name}; download or copy them "
            "to where the log expects them."
        )
    _logger.warning(
        "%s: %d of %d %s are missing and left out (the first: %s).", where, missing, count, kind, first.name
    )


def choose(name: str, names: Sequence[str], option: str, path: Path) -> str:
    """Choose one of the names that a data set holds; an empty `name` chooses the only one.

    Raises:
        ValueError: there is no such name, or `name` is empty and there are several.
    """
    if name in names or (len(names) == 1 and not name):
        return name or names[0]
    some = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    raise ValueError(f"{path}: invalid ?{option}={name}: expected one of {some or '(there are none)'}.")


def start_at_vehicle(scene: SceneData) -> SceneData:
    """Move the origin of the world to the first ego pose; its axes stay.

    Coordinates of maps and satellites are kilometers, which single precision resolves to centimeters only.
    """
    origin = scene.world_from_ego[0, :3, 3].copy()

    def move(matrix: Float[Array, "*n 4 4"]) -> Float[Array, "*n 4 4"]:
        result = matrix.copy()
        result[..., :3, 3] -= origin
        return result

    points = scene.points and replace(scene.points, xyz=scene.points.xyz - origin)
    return replace(
        scene,
        world_from_ego=move(scene.world_from_ego),
        frames=tuple(replace(f, world_from_camera=move(f.world_from_camera)) for f in scene.frames),
        sweeps=tuple(replace(s, world_from_lidar=move(s.world_from_lidar)) for s in scene.sweeps),
        boxes=tuple(replace(b, world_from_object=move(b.world_from_object)) for b in scene.boxes),
        lanes=tuple(replace(lane, points=lane.points - origin) for lane in scene.lanes),
        points=points,
        world_from_files=move(scene.world_from_files),
    )


def check_range(frames: tuple[int, int], count: int, where: str) -> None:
    """Raise a ValueError unless `frames` (first, stop) is a nonempty range of the `count` time steps of `where`."""
    first, stop = frames
    if not 0 <= first < stop <= count:
        raise ValueError(f"{where} has the time steps 0:{count}, not {first}:{stop}; use a part of them.")


def cut(scene: SceneData, frames: tuple[int, int]) -> SceneData:
    """Cut out the time steps first, ..., stop - 1 as a new log, which starts at time 0 and at its first pose.

    Raises:
        ValueError: the log does not have these steps.
    """
    check_range(frames, len(scene.times), f"log {scene.name!r}")
    first, stop = frames
    start = scene.times[first]

    def cut_records(records: Sequence) -> tuple:
        return tuple(replace(r, time_index=r.time_index - first) for r in records if first <= r.time_index < stop)

    part = replace(
        scene,
        times=scene.times[first:stop] - start,
        world_from_ego=scene.world_from_ego[first:stop],
        frames=tuple(replace(f, time=f.time - start) for f in cut_records(scene.frames)),
        sweeps=cut_records(scene.sweeps),
        boxes=cut_records(scene.boxes),
    )
    return start_at_vehicle(part)


def read_columns(path: Path, columns: Sequence[str]) -> dict[str, Shaped[Array, "..."]]:
    """Read columns of a feather (Arrow) or Parquet file as arrays.

    Raises:
        ValueError: pyarrow is missing, or the file is missing, damaged or lacks a column.
    """
    feather, parquet = _arrow(path)
    with _readable(path):
        if path.suffix == ".parquet":
            _check_rows(parquet, path)
            present = set(columns) & set(parquet.read_schema(str(path)).names)
            table = parquet.read_table(str(path), columns=sorted(present))
        else:
            check_feather_size(path)
            table = feather.read_table(str(path))
        table.validate(full=True)  # offsets in a damaged file lead to any place in memory
        return {name: table.column(name).to_numpy() for name in columns}


def column_names(path: Path) -> frozenset[str]:
    """Read the names of the columns of a Parquet file.

    Raises:
        ValueError: pyarrow is missing, or the file is missing or damaged.
    """
    _, parquet = _arrow(path)
    with _readable(path):
        return frozenset(parquet.read_schema(str(path)).names)


def read_cell(path: Path, column: str, row: int) -> bytes | Shaped[Array, "n"] | None:
    """Read one value of a Parquet file, bytes or the array of a list; only its row group is read.

    Raises:
        ValueError: pyarrow is missing, or the file is missing, damaged or lacks the column.
    """
    _, parquet = _arrow(path)
    with _readable(path), parquet.ParquetFile(str(path)) as file:
        _check_rows(parquet, path)
        group = 0
        while row >= file.metadata.row_group(group).num_rows:
            row -= file.metadata.row_group(group).num_rows
            group += 1
        table = file.read_row_group(group, [column])
        table.validate(full=True)
        value = table.column(column)[row]
    values = getattr(value, "values", None)
    return value.as_py() if values is None else values.to_numpy()


def _arrow(path: Path) -> tuple[ModuleType, ModuleType]:
    """Import the modules that read feather and Parquet files."""
    try:
        from pyarrow import feather, parquet
    except ImportError as error:
        raise ValueError(f"{path}: reading it needs the package pyarrow; install it.") from error
    return feather, parquet


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Convert the errors of pyarrow, which are of many types, to a ValueError of one sentence."""
    check_regular(path)
    try:
        yield
    except UnreadableFileError:
        raise
    except KeyError as error:
        raise ValueError(f"{path}: has no column {error.args[0]!r}; use a file of a supported version.") from error
    except Exception as error:
        raise ValueError(f"{path}: cannot be read ({reason(error)}); restore the file.") from error


def _check_rows(parquet: ModuleType, path: Path) -> None:
    """Check the size that a Parquet file claims: a few bytes may stand for any number of equal rows."""
    metadata = parquet.read_metadata(str(path))
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    claimed = sum(group.total_byte_size for group in groups) + 8 * metadata.num_rows
    check_decoded_size(path, claimed, path.stat().st_size)
