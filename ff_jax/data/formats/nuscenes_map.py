"""Read the map expansion of nuScenes near a log: dividers, edges of the drivable area, crossings; z is 0."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from ff_jax.data.lazy_arrays import read_object
from ff_jax.data.scene_data import Lane
from ff_jax.runtime.untrusted_files import reason

RADIUS = 100.0  # meters from the trajectory of the vehicle; maps cover whole districts

Array = np.ndarray


def load(path: Path, trajectory: Float[Array, "T 3"]) -> tuple[Lane, ...]:
    """Read the map around a trajectory (meters, world); empty if there is no map file.

    Raises:
        ValueError: the file is broken.
    """
    if not path.is_file():
        return ()
    content, tree = read_object(path, "node"), KDTree(trajectory[:, :2])
    try:
        lines = list(_lines(content))
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: lacks an entry ({reason(repr(error))}); download the map expansion again."
        ) from error
    lanes = []
    for kind, points in lines:
        inside = tree.query(points[:, :2])[0] < RADIUS
        runs = np.flatnonzero(np.diff(np.pad(inside.astype(int), 1))).reshape(-1, 2)
        if kind == "crosswalk":  # never cut
            runs = [(0, len(points))] if inside.any() else []
        lanes += [Lane(kind, points[first:stop]) for first, stop in runs if stop - first > 1]
    return tuple(lanes)


def _lines(content: dict) -> Iterator[tuple[str, Float[Array, "M 3"]]]:
    nodes = {node["token"]: (node["x"], node["y"], 0.0) for node in content["node"]}
    lines = {line["token"]: line["node_tokens"] for line in content["line"]}
    polygons = {polygon["token"]: polygon for polygon in content["polygon"]}

    def points(tokens: list[str]) -> Float[Array, "M 3"]:
        return np.array([nodes[token] for token in tokens], float)

    for layer in ("lane_divider", "road_divider"):
        for record in content[layer]:
            if len(lines[record["line_token"]]) > 1:
                yield "lane_line", points(lines[record["line_token"]])
    for record in content["ped_crossing"]:
        outline = polygons[record["polygon_token"]]["exterior_node_tokens"]
        yield "crosswalk", points([*outline, outline[0]])
    for area in content["drivable_area"]:
        for polygon in (polygons[token] for token in area["polygon_tokens"]):
            for outline in (polygon["exterior_node_tokens"], *(hole["node_tokens"] for hole in polygon["holes"])):
                yield "road_edge", points([*outline, outline[0]])
