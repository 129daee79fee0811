"""Shared by both versions of the Waymo Open Dataset: cameras, LiDARs and labels, with the names of `waymo_messages`.

The pose of an image is that of the vehicle at the middle of the exposure (each image has this pose). LiDAR points and
boxes have the pose of the frame, to which LiDAR pixels are compensated with their own poses. The motion of a camera
during the read-out follows from the velocity of the vehicle. Principal points are unchanged, as in `waymo_frame.py`.
Boxes of signs have the category "other".
"""

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from ff_jax.data.formats import waymo_lidar
from ff_jax.data.formats.common import pinhole
from ff_jax.data.formats.waymo_messages import SPEEDS, TURNS
from ff_jax.data.lazy_arrays import Source
from ff_jax.data.scene_data import OPENCV_FROM_EGO, Box, Frame, Readout

CAMERAS = {1: "FRONT", 2: "FRONT_LEFT", 3: "FRONT_RIGHT", 4: "SIDE_LEFT", 5: "SIDE_RIGHT"}
LASERS = {1: "TOP", 2: "FRONT", 3: "SIDE_LEFT", 4: "SIDE_RIGHT", 5: "REAR"}
CATEGORIES = {1: "vehicle", 2: "pedestrian", 4: "cyclist"}  # type of a label
# Of a read-out: whether lines are columns, and whether it starts at the left or top (1), or right or bottom (-1).
DIRECTIONS = {1: (False, 1), 2: (True, 1), 3: (False, -1), 4: (True, -1)}
LICENSE = "Waymo Dataset License Agreement for Non-Commercial Use"

Array = np.ndarray


def camera_frame(index: int, image: dict, camera: dict, start: float, source: Source) -> Frame:
    """Build the frame of an image.

    Args:
        index: time step.
        image: its pose and time (seconds).
        camera: its calibration.
        start: time of the first time step, seconds.
        source: of the pixels.
    """
    return Frame(
        camera=CAMERAS[camera["name"]],
        time_index=index,
        time=float(image["time"] - start),
        K=pinhole(*camera["intrinsic"][:4]),
        world_from_camera=matrix(image["pose"]) @ matrix(camera["extrinsic"]) @ np.linalg.inv(OPENCV_FROM_EGO),
        width=camera["width"],
        height=camera["height"],
        image=source,
        distortion=camera["intrinsic"][4:9],
        exposure_id=index * len(CAMERAS) + camera["name"] - 1,
        readout=readout_of(image, camera),
    )


def readout_of(image: dict, camera: dict) -> Readout | None:
    """Compute the motion of a camera during the read-out of an image; None if the record lacks it.

    The time between the trigger and the end of the read-out includes the exposure of one line.

    Args:
        image: its pose, times (seconds), and velocity (m/s and rad/s of the vehicle, world axes).
        camera: its calibration.
    """
    direction, velocity = DIRECTIONS.get(camera.get("direction") or 0), image.get("velocity")
    if direction is None or velocity is None or image.get("done") is None or image.get("trigger") is None:
        return None
    columns, sign = direction
    half = 0.5 * sign * (image["done"] - image["trigger"] - (image.get("exposure") or 0.0))
    speed, turn = (np.array([velocity[key] or 0.0 for key in keys], float) for keys in (SPEEDS, TURNS))
    middle, end = matrix(image["pose"]), matrix(image["pose"]).astype(float).copy()
    end[:3, :3] = Rotation.from_rotvec(half * turn).as_matrix() @ end[:3, :3]
    end[:3, 3] += half * speed
    vehicle_from_camera = matrix(camera["extrinsic"]) @ np.linalg.inv(OPENCV_FROM_EGO)
    step = np.linalg.inv(end @ vehicle_from_camera) @ middle @ vehicle_from_camera
    return Readout(2 * np.append(Rotation.from_matrix(step[:3, :3]).as_rotvec(), step[:3, 3]), columns)


def laser_points(
    images: list[Float[Array, "H W C"]],
    poses: Float[Array, "H W 6"] | None,
    laser: dict,
    world_from_vehicle: Float[Array, "4 4"],
) -> Float[Array, "N 4"]:
    """Convert the range images of all returns of a laser to points: x, y, z (meters, LiDAR frame) and intensity.

    Args:
        images: range images of the returns.
        poses: of the vehicle at every pixel, the same for all returns; None for compensated images.
        laser: its calibration.
        world_from_vehicle: pose of the frame.
    """
    beams = laser["inclinations"]
    if len(beams) == 0:
        limits = laser["inclination_min"], laser["inclination_max"]
        beams = waymo_lidar.uniform_inclinations(*limits, len(images[0]))
    extrinsic = matrix(laser["extrinsic"])
    clouds = [waymo_lidar.range_image_points(image, beams, extrinsic, world_from_vehicle, poses) for image in images]
    return np.concatenate(clouds)


def label_box(index: int, label: dict, world_from_vehicle: Float[Array, "4 4"]) -> Box:
    """Build the box of a label of time step `index`."""
    box = label["box"]
    cos, sin = np.cos(box["heading"]), np.sin(box["heading"])
    pose = np.array([[cos, -sin, 0, box["center_x"]], [sin, cos, 0, box["center_y"]], [0, 0, 1, box["center_z"]]])
    # Lane-shift metrics use the points of the top LiDAR; records before version 1.2 have those of all LiDARs only.
    counts = [n for n in (label["top_points"], label["points"]) if n is not None]
    return Box(
        track_id=label["id"],
        category=CATEGORIES.get(label["type"], "other"),
        time_index=index,
        world_from_object=world_from_vehicle @ np.vstack([pose, [0, 0, 0, 1]]),
        size=np.array([box["length"], box["width"], box["height"]]),
        num_points=counts[0] if counts else -1,
    )


def matrix(transform: dict) -> Float[Array, "4 4"]:
    """Convert a Transform message to a 4x4 matrix."""
    return transform["transform"].reshape(4, 4)
