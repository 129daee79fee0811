"""The synthetic street: a procedural scene with exact images, depth, LiDAR, boxes and lanes from any camera."""

from ff_jax.data.synthetic.build import make_street
from ff_jax.data.synthetic.camera_rig import RIG, rig_camera
from ff_jax.data.synthetic.labels import VehicleBoxes, lane_map, vehicle_boxes
from ff_jax.data.synthetic.lidar import LidarPattern, LidarReturns, simulate_lidar
from ff_jax.data.synthetic.render import render_street
from ff_jax.data.synthetic.types import VEHICLE_CLASSES, Capacities, Street, StreetConfig, StreetView

__all__ = [
    "RIG",
    "VEHICLE_CLASSES",
    "Capacities",
    "LidarPattern",
    "LidarReturns",
    "Street",
    "StreetConfig",
    "StreetView",
    "VehicleBoxes",
    "lane_map",
    "make_street",
    "render_street",
    "rig_camera",
    "simulate_lidar",
    "vehicle_boxes",
]
