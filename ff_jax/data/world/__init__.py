"""A procedural street with exact ground truth at any camera: images, depth, LiDAR, boxes, lanes."""

from ff_jax.data.world.build import make_world
from ff_jax.data.world.labels import Boxes, boxes, lanes
from ff_jax.data.world.lidar import LidarPattern, LidarSweep, lidar_sweep
from ff_jax.data.world.render import render_world
from ff_jax.data.world.rig import RIG, rig_camera
from ff_jax.data.world.structs import VEHICLE_CLASSES, Capacities, World, WorldConfig, WorldView

__all__ = [
    "RIG",
    "VEHICLE_CLASSES",
    "Boxes",
    "Capacities",
    "LidarPattern",
    "LidarSweep",
    "World",
    "WorldConfig",
    "WorldView",
    "boxes",
    "lanes",
    "lidar_sweep",
    "make_world",
    "render_world",
    "rig_camera",
]
