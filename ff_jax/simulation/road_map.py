"""The lanes around the recorded drive as an OpenDRIVE map, from the polylines of a log.

The map is one road along the recorded drive. Its lanes lie between the lines and edges beside it: the lane of the drive
has the number -1, further ones to its right -2, -3 and so on, those to its left 1, 2 and so on. A log has no directions
and no junctions, so lanes on the left are oncoming ones (right-hand traffic), and crossing roads are left out. Source:
ASAM OpenDRIVE 1.7 (roads, lanes, objects).
"""

from itertools import pairwise
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float

from ff_jax.data.scene_data import Lane, SceneData, transform
from ff_jax.simulation.road_path import SPACING, RoadPath

Element = ElementTree.Element

REACH = 15.0  # meters beside the drive at which lines are looked for
MAX_TURN = np.deg2rad(30.0)  # between a line and the road: crossing ones are no boundaries
LANE_WIDTH, MIN_WIDTH, MAX_WIDTH = 3.5, 2.0, 6.0  # meters: without a line; of a lane beside that of the drive
NEAREST = 0.4  # meters from the drive to the boundaries of its lane, at least
MAX_LANES = 3  # to each side of the lane of the drive
MIN_SHARE = 0.5  # of the stations at which a boundary has a line

Array = np.ndarray


class Lines(NamedTuple):
    """Pieces of lines beside a road."""

    along: Float[Array, "N"]  # meters along the road
    left: Float[Array, "N"]  # meters from it
    is_edge: Float[Array, "N"]  # 1: the road ends there


class Boundaries(NamedTuple):
    """The boundaries of the lanes, from the left to the right, at all stations: meters to the left of the drive."""

    left: list[Float[Array, "S"]]  # of lanes on the left of that of the drive, from inside; the first is its own
    right: list[Float[Array, "S"]]  # likewise; the first is the right one of the lane of the drive


def road_map(path: RoadPath, log: SceneData, local_from_world: Float[Array, "4 4"], name: str) -> str | None:
    """Write the map (local frame, meters); None if the log has no line along the drive."""
    lines = collect_lines(path, log.lanes, local_from_world)
    if not len(lines.along):
        return None
    root = Element("OpenDRIVE")
    low, high = path.stations.min(0), path.stations.max(0)
    bounds = {"north": high[1], "south": low[1], "east": high[0], "west": low[0]}
    _add(root, "header", revMajor=1, revMinor=7, name=name, version=1.0, vendor="faithfusion-jax", **bounds)
    road = _add(root, "road", name=name, length=path.along[-1], id=1, junction=-1, rule="RHT")
    _add(_add(road, "type", s=0.0, type="town"), "speed", max="undefined")
    _add_geometry(road, path)
    _add_lanes(road, path, lane_boundaries(path, lines))
    objects = _add(road, "objects")
    for number, lane in enumerate(lane for lane in log.lanes if lane.kind == "crosswalk"):
        _add_crosswalk(objects, path, transform(local_from_world, lane.points), f"crosswalk{number}")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)


def collect_lines(path: RoadPath, lanes: tuple[Lane, ...], local_from_world: Float[Array, "4 4"]) -> Lines:
    """Collect the pieces of lines and edges that run along a road."""
    parts = [np.zeros((3, 0))]
    for lane in lanes:
        if lane.kind == "crosswalk" or len(lane.points) < 2:
            continue
        points, angles = _dense(transform(local_from_world, np.asarray(lane.points, np.float64)))
        along, left, _ = path.project(points)
        headings = np.interp(along, path.along, path.headings)
        turns = np.abs((angles - headings + np.pi / 2) % np.pi - np.pi / 2)  # lines have no direction
        keep = (np.abs(left) < REACH) & (turns < MAX_TURN) & (along > 0) & (along < path.along[-1])
        parts.append(np.stack([along, left, np.full(len(left), float(lane.kind == "road_edge"))])[:, keep])
    return Lines(*np.concatenate(parts, 1))


def _dense(points: Float[Array, "M 3"]) -> tuple[Float[Array, "N 3"], Float[Array, "N"]]:
    """Resample a polyline at half the distance of stations; return points and directions in the plane, radians."""
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    places = np.linspace(0, lengths[-1], max(int(2 * lengths[-1] / SPACING) + 1, 2))
    dense = np.stack([np.interp(places, lengths, points[:, axis]) for axis in range(3)], 1)
    ways = np.gradient(dense[:, :2], axis=0)
    return dense, np.arctan2(ways[:, 1], ways[:, 0])


def lane_boundaries(path: RoadPath, lines: Lines) -> Boundaries:
    """Find the boundaries of the lanes: the nearest lines on both sides, and those beyond, up to the edges."""
    sides = []
    for sign in (1.0, -1.0):
        found: list[Array] = []
        inner, narrowest, widest, is_edge = np.zeros(len(path.along)), NEAREST, MAX_WIDTH, False
        while len(found) <= MAX_LANES and not is_edge:
            boundary, is_edge = _next_boundary(path, lines, sign * inner, sign, (narrowest, widest))
            if boundary is None:
                break
            found.append(boundary)
            inner, narrowest = sign * boundary, MIN_WIDTH
        sides.append(found or [np.full(len(path.along), sign * LANE_WIDTH / 2)])
    return Boundaries(*sides)


def _next_boundary(
    path: RoadPath, lines: Lines, inner: Float[Array, "S"], sign: float, widths: tuple[float, float]
) -> tuple[Float[Array, "S"] | None, bool]:
    """Find the next boundary beyond `inner`, and whether it is an edge; None if too few stations have one."""
    distance = sign * (lines.left - np.interp(lines.along, path.along, inner))
    station = np.round(lines.along / SPACING).astype(int)
    possible = (distance > widths[0]) & (distance < widths[1])
    gaps, edges = np.full(len(path.along), np.inf), np.zeros(len(path.along))
    for index in np.flatnonzero(possible & (station < len(gaps))):
        if distance[index] < gaps[station[index]]:
            gaps[station[index]], edges[station[index]] = distance[index], lines.is_edge[index]
    known = np.isfinite(gaps)
    if known.sum() < MIN_SHARE * len(np.unique(station)):  # of the stations with any line
        return None, False
    filled = np.interp(path.along, path.along[known], gaps[known])
    return inner + sign * filled, bool(edges[known].mean() > 0.5)


def _add_geometry(road: Element, path: RoadPath) -> None:
    """Add the reference line: straight pieces between the stations, and their heights."""
    plan, profile = _add(road, "planView"), _add(road, "elevationProfile")
    lengths, heights = np.diff(path.along), path.stations[:, 2]
    for i, length in enumerate(lengths):
        x, y = path.stations[i, :2]
        _add(_add(plan, "geometry", s=path.along[i], x=x, y=y, hdg=path.headings[i], length=length), "line")
        _add_cubic(profile, "elevation", "s", path.along[i], heights[i : i + 2], length)


def _add_lanes(road: Element, path: RoadPath, boundaries: Boundaries) -> None:
    """Add the lanes; the reference line is moved to the left boundary of the lane of the drive."""
    lanes = _add(road, "lanes")
    for i, length in enumerate(np.diff(path.along)):
        _add_cubic(lanes, "laneOffset", "s", path.along[i], boundaries.left[0][i : i + 2], length)
    section = _add(lanes, "laneSection", s=0.0)
    left = [outer - inner for inner, outer in pairwise(boundaries.left)]
    right = [inner - outer for inner, outer in pairwise([boundaries.left[0], *boundaries.right])]
    if left:
        side = _add(section, "left")
        for number in range(len(left), 0, -1):  # from the left to the right
            _add_lane(side, number, path, left[number - 1])
    _add(_add(_add(section, "center"), "lane", id=0, type="none", level="false"), "roadMark", sOffset=0.0, type="solid")
    side = _add(section, "right")
    for number, width in enumerate(right, 1):
        _add_lane(side, -number, path, width)


def _add_lane(side: Element, number: int, path: RoadPath, width: Float[Array, "S"]) -> None:
    lane = _add(side, "lane", id=number, type="driving", level="false")
    for i, length in enumerate(np.diff(path.along)):
        _add_cubic(lane, "width", "sOffset", path.along[i], width[i : i + 2], length)
    _add(lane, "roadMark", sOffset=0.0, type="solid")


def _add_crosswalk(objects: Element, path: RoadPath, outline: Float[Array, "M 3"], name: str) -> None:
    """Add a crosswalk as the rectangle around its outline in the coordinates of the road; none if it is elsewhere."""
    along, left, _ = path.project(outline)
    if not len(left) or np.abs(left).min() > REACH or along.min() <= 0 or along.max() >= path.along[-1]:
        return
    places = {"s": (along.min() + along.max()) / 2, "t": (left.min() + left.max()) / 2, "zOffset": 0.0}
    # The object is turned by 90 degrees: its length is across the road, and its width along it.
    sizes = {"hdg": np.pi / 2, "length": np.ptp(left), "width": np.ptp(along), "height": 0.0}
    _add(objects, "object", id=name, name="crosswalk", type="crosswalk", orientation="none", **places, **sizes)


def _add_cubic(parent: Element, tag: str, place: str, at: float, ends: Float[Array, "2"], length: float) -> None:
    """Add the polynomial a + b ds between two values."""
    slope = (ends[1] - ends[0]) / length
    _add(parent, tag, **{place: at}, a=float(ends[0]), b=float(slope), c=0.0, d=0.0)


def _add(parent: Element, tag: str, **attributes: str | float | int) -> Element:
    """Add an element; numbers are written to a hundredth of a millimeter."""
    texts = {key: value if isinstance(value, str | int) else f"{value:.5f}" for key, value in attributes.items()}
    return ElementTree.SubElement(parent, tag, {key: str(text) for key, text in texts.items()})
