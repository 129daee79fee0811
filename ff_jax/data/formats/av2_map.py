"""Read the vector map of an Argoverse 2 log: painted lane lines, edges of the drivable area, crosswalks."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.path import Path as Polygon

from ff_jax.data.lazy_arrays import read_object
from ff_jax.data.scene_data import Lane
from ff_jax.runtime.untrusted_files import reason

UNMARKED = ("NONE", "UNKNOWN")
SPACING = 1.0  # meters between the points of an edge
OFFSET = 0.3  # meters to both sides of an edge, where it is tested whether the road continues

Array = np.ndarray


def load(path: Path) -> tuple[Lane, ...]:
    """Read a file log_map_archive_*.json; points in meters, city frame.

    Raises:
        ValueError: the file is missing or broken.
    """
    content = read_object(path, "lane_segments")
    try:
        areas = [_closed(_points(area["area_boundary"])) for area in content["drivable_areas"].values()]
        crossings = [(_points(c["edge1"]), _points(c["edge2"])) for c in content["pedestrian_crossings"].values()]
        lines = _lines(content["lane_segments"].values())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not an Argoverse 2 map ({reason(repr(error))}); download it again.") from error
    outlines = [_closed(np.concatenate([first, second[::-1]])) for first, second in crossings]
    groups = {"lane_line": lines, "road_edge": road_edges(areas), "crosswalk": outlines}
    return tuple(Lane(kind, points) for kind, group in groups.items() for points in group)


def road_edges(areas: list[Float[Array, "_ 3"]]) -> list[Float[Array, "_ 3"]]:
    """Find the parts of the outlines of drivable areas where the road ends.

    Areas abut: where another area continues behind an outline, the outline is not visible on the road.

    Args:
        areas: closed outlines, meters.
    """
    polygons, edges = [Polygon(area[:, :2]) for area in areas], []
    for area in areas:
        points = _resample(area)
        along = np.diff(points[:, :2], axis=0)
        normal = np.stack([-along[:, 1], along[:, 0]], -1) / np.linalg.norm(along, axis=1, keepdims=True)
        middle = (points[1:, :2] + points[:-1, :2]) / 2
        ends = ~(_inside(polygons, middle + OFFSET * normal) & _inside(polygons, middle - OFFSET * normal))
        starts = np.flatnonzero(np.diff(np.pad(ends.astype(int), 1)))
        edges += [points[first : last + 1] for first, last in starts.reshape(-1, 2)]
    return edges


def _lines(segments: Iterable[dict]) -> list[Float[Array, "_ 3"]]:
    """Read the painted boundaries of lane segments, once where two neighbors share one."""
    lines = {}
    for segment in segments:
        for side in ("left", "right"):
            points = _points(segment[f"{side}_lane_boundary"])
            if tuple(points[0]) > tuple(points[-1]):
                points = np.ascontiguousarray(points[::-1])
            if segment[f"{side}_lane_mark_type"] not in UNMARKED:
                lines[points.tobytes()] = points
    return list(lines.values())


def _resample(outline: Float[Array, "M 3"]) -> Float[Array, "N 3"]:
    """Divide every side into parts of at most `SPACING`; sides of length 0 are dropped."""
    lengths = np.linalg.norm(np.diff(outline, axis=0), axis=1)
    outline = outline[np.concatenate([[True], lengths > 0])]
    counts = np.ceil(lengths[lengths > 0] / SPACING).astype(int)
    sides = zip(outline[:-1], outline[1:], counts, strict=True)
    parts = [np.linspace(a, b, count, endpoint=False) for a, b, count in sides]
    return np.concatenate([*parts, outline[-1:]])


def _inside(polygons: list[Polygon], points: Float[Array, "N 2"]) -> Bool[Array, "N"]:
    return np.any([polygon.contains_points(points) for polygon in polygons], axis=0)


def _points(records: list[dict]) -> Float[Array, "M 3"]:
    return np.array([[record[key] for key in "xyz"] for record in records], float)


def _closed(points: Float[Array, "M 3"]) -> Float[Array, "N 3"]:
    return np.concatenate([points, points[:1]])
