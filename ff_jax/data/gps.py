"""Positions of images from satellites or from an odometer: EXIF tags, GPX tracks, and tables of names and positions."""

import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float, Int

from ff_jax.data.exif import Fix, exif_fix, exif_time, seconds
from ff_jax.data.scene_data import Frame
from ff_jax.data.similarity import fit_similarity, residuals
from ff_jax.runtime.untrusted_files import read_file

Array = np.ndarray

_POINT = re.compile(r"<(trkpt|rtept|wpt)\b([^>]*?)(?:/>|>(.*?)</\1>)", re.S)
_NUMBER = r"[\"']\s*([-+\d.eE]+)\s*[\"']"
_RADIUS, _FLATTENING = 6378137.0, 1 / 298.257223563  # WGS 84, meters
ZONES = tuple(timedelta(minutes=15 * quarter) for quarter in range(-56, 57))  # that the clock of a camera may have


Pairs = tuple[list[int], Float[Array, "N 3"]]  # numbers of frames, and their positions in meters


def positions_from_images(frames: Sequence[Frame]) -> Pairs:
    """Read the positions in the EXIF tags of the images of some frames."""
    fixes = {number: exif_fix(frame.image.path) for number, frame in enumerate(frames) if frame.image.path}
    found = {number: fix for number, fix in fixes.items() if fix is not None}
    return list(found), local_meters(list(found.values()))


def positions_from_file(path: Path, frames: Sequence[Frame]) -> Pairs:
    """Read the positions of some frames from a GPX track, or from a table of names, latitudes, longitudes, altitudes.

    The points of a track belong to images by their names, by the times in the EXIF tags of the images, or, if there
    are as many of them as images, by their order.

    Raises:
        ValueError: the file holds no positions, or they cannot be matched with images.
    """
    if path.suffix.lower() == ".gpx":
        return _match_track(path, read_gpx(path), frames)
    rows = read_table(path)
    fixes = {number: _fix(row) for number, row in _by_name(path, rows, frames).items()}
    if any(abs(fix.latitude) > 90 or abs(fix.longitude) > 360 for fix in fixes.values()):
        raise ValueError(f"{path}: holds no latitudes and longitudes in degrees; use ?scale=positions:FILE for meters.")
    return list(fixes), local_meters(list(fixes.values()))


def positions_from_table(path: Path, frames: Sequence[Frame]) -> Pairs:
    """Read positions in meters from a table of names, x, y, z.

    Raises:
        ValueError: the file holds no such table, or none of its names is that of an image.
    """
    rows = _by_name(path, read_table(path), frames)
    if any(len(row) < 3 for row in rows.values()):
        raise ValueError(f"{path}: expected lines of a name and x, y, z in meters.")
    return list(rows), np.array([row[:3] for row in rows.values()]).reshape(-1, 3)


def read_gpx(path: Path) -> list[Fix]:
    """Read the points of a GPX file (https://www.topografix.com/GPX/1/1).

    Raises:
        ValueError: it holds none.
    """
    text, fixes = read_file(path).decode("utf-8", "replace"), []
    for _, attributes, body in _POINT.findall(text):
        place = {key: re.search(rf"\b{key}\s*=\s*{_NUMBER}", attributes) for key in ("lat", "lon")}
        inner = {key: re.search(rf"<{key}>\s*([^<]*?)\s*</{key}>", body) for key in ("ele", "time", "name")}
        values = {key: match[1] if match else "" for key, match in (place | inner).items()}
        try:
            altitude = float(values["ele"]) if values["ele"] else np.nan
            time = seconds(values["time"]) if values["time"] else np.nan
            fixes.append(Fix(float(values["lat"]), float(values["lon"]), altitude, time, values["name"]))
        except ValueError:
            continue
    if not fixes:
        raise ValueError(f"{path}: holds no points with lat and lon; use a GPX track.")
    return fixes


def read_table(path: Path) -> dict[str, tuple[float, ...]]:
    """Read lines of a name and numbers, between spaces, tabs or commas; other lines are comments and headers.

    Raises:
        ValueError: there are none.
    """
    rows = {}
    for line in read_file(path).decode("utf-8-sig", "replace").splitlines():
        words = [word.strip() for word in (line.split(",") if "," in line else line.split())]
        try:
            values = tuple(float(word) for word in words[1:4])
        except ValueError:
            continue
        if len(values) >= 2 and np.isfinite(values).all() and not line.startswith("#"):
            rows[words[0].replace("\\", "/")] = values
    if not rows:
        raise ValueError(f"{path}: holds no lines of a name and 2 or 3 numbers.")
    return rows


def local_meters(fixes: Sequence[Fix]) -> Float[Array, "N 3"]:
    """Convert positions to meters east, north and up of the first one; without all altitudes, the ground is flat."""
    if not fixes:
        return np.zeros((0, 3))
    latitude, longitude, altitude = np.array([fix[:3] for fix in fixes], float).T
    altitude = altitude if np.isfinite(altitude).all() else np.zeros(len(fixes))
    lat, lon = np.deg2rad(latitude), np.deg2rad(longitude)
    squared = _FLATTENING * (2 - _FLATTENING)  # eccentricity
    normal = _RADIUS / np.sqrt(1 - squared * np.sin(lat) ** 2)
    across = (normal + altitude) * np.cos(lat)
    earth = np.stack(
        [across * np.cos(lon), across * np.sin(lon), (normal * (1 - squared) + altitude) * np.sin(lat)], -1
    )
    sl, cl, so, co = np.sin(lat[0]), np.cos(lat[0]), np.sin(lon[0]), np.cos(lon[0])
    axes = np.array([[-so, co, 0], [-sl * co, -sl * so, cl], [cl * co, cl * so, sl]])
    return (earth - earth[0]) @ axes.T


def _fix(row: Sequence[float]) -> Fix:
    """Make a position from latitude, longitude and, if there is one, altitude."""
    return Fix(row[0], row[1], row[2] if len(row) > 2 else np.nan)


def _match_track(path: Path, fixes: Sequence[Fix], frames: Sequence[Frame]) -> Pairs:
    """Find the positions of frames on a track."""
    named = {fix.name: tuple(fix[:3]) for fix in fixes if fix.name}
    numbers = _numbers_by_name(named, frames)
    if numbers:
        return list(numbers), local_meters([_fix(named[name]) for name in numbers.values()])
    times = {number: exif_time(frame.image.path) for number, frame in enumerate(frames) if frame.image.path}
    dated = {number: time for number, time in times.items() if time is not None}
    timed = sorted((fix for fix in fixes if np.isfinite(fix.time)), key=lambda fix: fix.time)
    if len(dated) > len(frames) / 2 and len(timed) > 1:
        centers = np.array([frames[number].world_from_camera[:3, 3] for number in dated])
        rows, places = _match_times(
            path,
            timed,
            np.array([time.seconds for time in dated.values()]),
            centers,
            has_zone=all(time.has_zone for time in dated.values()),
        )
        return [list(dated)[row] for row in rows], places
    if len(fixes) == len(frames):
        return list(range(len(frames))), local_meters(fixes)
    raise ValueError(
        f"{path}: its {len(fixes)} points cannot be matched with {len(frames)} images, which have no times; use images "
        "with EXIF times, one point per image, or a table of names and positions."
    )


def _match_times(
    path: Path, fixes: Sequence[Fix], asked: Float[Array, "N"], centers: Float[Array, "N 3"], *, has_zone: bool
) -> tuple[list[int], Float[Array, "M 3"]]:
    """Interpolate a track at the times of images.

    Args:
        path: of the track, for messages.
        fixes: the track, in order of time.
        asked: times of the images, seconds.
        centers: of their cameras, in any unit: of the time zones in question, that with the best fit is taken.
        has_zone: whether the times of the images are in a known time zone.

    Returns:
        The numbers of the images that the track covers, and their positions.
    """
    track, times = local_meters(fixes), np.array([fix.time for fix in fixes])
    choices = []
    for zone in (timedelta(0),) if has_zone else ZONES:
        shifted = asked - zone.total_seconds()
        rows = np.flatnonzero((shifted >= times[0]) & (shifted <= times[-1]))
        places = np.stack([np.interp(shifted[rows], times, axis) for axis in track.T], -1)
        choices.append((rows, places))
    most = max(len(rows) for rows, _ in choices)
    if most < max(len(asked) / 2, 3):
        raise ValueError(
            f"{path}: the track covers the times of {most} of {len(asked)} images; use the track of this log."
        )

    def error(rows: Int[Array, "M"], places: Float[Array, "M 3"]) -> float:
        """Compute the relative error of the best similarity; infinite without motion."""
        if len(rows) < 0.9 * most or min(np.ptp(places, axis=0).max(), np.ptp(centers[rows], axis=0).max()) == 0:
            return np.inf
        matrix = fit_similarity(centers[rows], places)
        return float(residuals(matrix, centers[rows], places).mean() / places.std(0).sum())

    rows, places = min(choices, key=lambda choice: error(*choice))  # the first one if none moves
    return rows.tolist(), places


def _by_name(path: Path, rows: dict[str, tuple], frames: Sequence[Frame]) -> dict[int, tuple[float, ...]]:
    """Find the rows of frames by the names of their images."""
    numbers = _numbers_by_name(rows, frames)
    if not numbers:
        raise ValueError(f"{path}: none of its {len(rows)} names is that of an image, such as {next(iter(rows))!r}.")
    return {number: rows[name] for number, name in numbers.items()}


def _numbers_by_name(names: dict[str, tuple], frames: Sequence[Frame]) -> dict[int, str]:
    """Match names with the images of frames: by the end of the path, its last part, or that without its suffix."""
    keys: tuple[Callable[[str], str], ...] = (str, lambda n: PurePosixPath(n).name, lambda n: PurePosixPath(n).stem)
    for key in keys:
        known = {key(name): name for name in names}
        paths = {number: frame.image.path for number, frame in enumerate(frames) if frame.image.path}
        found = {}
        for number, file in paths.items():
            parts = file.as_posix().split("/")
            options = ["/".join(parts[-count:]) for count in range(1, len(parts))] if key is str else [file.as_posix()]
            name = next((known[key(option)] for option in reversed(options) if key(option) in known), None)
            if name is not None:
                found[number] = name
        if found and len(set(found.values())) > len(found) / 2:  # stems that repeat say nothing
            return found
    return {}
