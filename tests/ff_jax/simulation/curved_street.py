"""A log of a drive along a curve that climbs, with lines and edges of lanes at known places, and a crosswalk."""

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation

from ff_jax.data.scene_data import Lane
from tests.ff_jax.data import tiny

RADIUS, SLOPE = 60.0, 0.04  # of a curve to the left around (0, RADIUS), which climbs
LINES = {1.6: "lane_line", 5.0: "road_edge", -1.9: "lane_line", -5.5: "lane_line", -8.9: "road_edge"}


def beside(left, angles):
    """Return points to the left of the circle, at its heights."""
    radius = RADIUS - left
    return np.stack([radius * np.sin(angles), RADIUS - radius * np.cos(angles), SLOPE * RADIUS * angles], -1)


def curved_log(folder):
    angles = np.linspace(0, 1.0, 61)
    poses = np.tile(np.eye(4), (61, 1, 1))
    poses[:, :3, :3] = Rotation.from_euler("z", angles[:, None]).as_matrix()
    poses[:, :3, 3] = beside(0.0, angles)
    lanes = [Lane(kind, beside(left, np.linspace(0.05, 0.95, 30))) for left, kind in LINES.items()]
    lanes.append(Lane("lane_line", np.array([[30.0, -20, 0], [30, 30, 0]])))  # crosses the road
    walk = np.concatenate([beside(4.0, np.linspace(0.4, 0.45, 3)), beside(-4.0, np.linspace(0.45, 0.4, 3))])
    lanes.append(Lane("crosswalk", walk))
    log = dataclasses.replace(
        tiny.make_scene(folder), times=np.arange(61) / 10, world_from_ego=poses, lanes=tuple(lanes)
    )
    return dataclasses.replace(log, boxes=(), sweeps=(), points=None)
