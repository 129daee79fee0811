"""A procedural street with exact ground truth at any camera: images, depth, LiDAR, boxes, lanes."""

from ff_jax.data.synthetic.build import make_world
from ff_jax.data.synthetic.camera_rig import RIG, rig_camera
from ff_jax.data.synthetic.labels import Boxes, boxes, lanes
from ff_jax.data.synthetic.lidar import LidarPattern, LidarSweep, lidar_sweep
from ff_jax.data.synthetic.render import render_world
from ff_jax.data.synthetic.types import VEHICLE_CLASSES, Capacities, World, WorldConfig, WorldView

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
