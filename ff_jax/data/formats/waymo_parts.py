"""What both versions of the Waymo Open Dataset share: cameras, LiDARs and labels as `waymo_messages` names them.

Images are placed where the vehicle was at the middle of their exposure (each image carries that pose), LiDAR points
and boxes at the pose of the frame, to which LiDAR pixels are brought by their own poses. How a camera moved while an
image was read out follows from the vehicle's velocity. As in `waymo_frame.py`, principal points stay as they are,
because Waymo's image coordinates begin at the edge of the first pixel. Boxes of signs are of the category "other".
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
# Of a read-out: whether lines are columns, and whether the first one is the leftmost or topmost (1) or the last (-1).
DIRECTIONS = {1: (False, 1), 2: (True, 1), 3: (False, -1), 4: (True, -1)}
LICENCE = "Waymo Dataset License Agreement for Non-Commercial Use"

Array = np.ndarray


def camera_frame(index: int, image: dict, camera: dict, start: float, source: Source) -> Frame:
    """Return the frame of an image.

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
    """Return how a camera moved during the read-out of an image; None where the record does not tell.

    Between the trigger and the end of the read-out lies also the exposure of one line.

    Args:
        image: its pose, times (seconds), and velocity (m/s and rad/s of the vehicle, world axes).
        camera: its calibration.
    """
    direction, velocity = DIRECTIONS.get(camera.get("direction")), image.get("velocity")
    if direction is None or velocity is None or image.get("done") is None or image.get("trigger") is None:
        return None
    columns, sign = direction
    half = 0.5 * sign * (image["done"] - image["trigger"] - (image.get("exposure") or 0.0))
    speed, turn = (np.array([velocity[key] or 0.0 for key in keys], float) for keys in (SPEEDS, TURNS))
    now, moved = matrix(image["pose"]), matrix(image["pose"]).astype(float).copy()
    moved[:3, :3] = Rotation.from_rotvec(half * turn).as_matrix() @ moved[:3, :3]
    moved[:3, 3] += half * speed
    mounted = matrix(camera["extrinsic"]) @ np.linalg.inv(OPENCV_FROM_EGO)
    step = np.linalg.inv(moved @ mounted) @ now @ mounted
    return Readout(2 * np.append(Rotation.from_matrix(step[:3, :3]).as_rotvec(), step[:3, 3]), columns)


def laser_points(
    images: list[Float[Array, "H W C"]],
    poses: Float[Array, "H W 6"] | None,
    laser: dict,
    world_from_vehicle: Float[Array, "4 4"],
) -> Float[Array, "N 4"]:
    """Return the points of all returns of a laser: x, y, z (metres, LiDAR frame) and intensity.

    Args:
        images: range images of the returns.
        poses: of the vehicle at every pixel, the same for all returns; None where the frame's pose holds.
        laser: its calibration.
        world_from_vehicle: pose of the frame.
    """
    beams = laser["inclinations"]
    if len(beams) == 0:
        limits = laser["inclination_min"], laser["inclination_max"]
        beams = waymo_lidar.uniform_inclinations(*limits, len(images[0]))
    extrinsic = matrix(laser["extrinsic"])
    clouds = [waymo_lidar.lidar_points(image, beams, extrinsic, world_from_vehicle, poses) for image in images]
    return np.concatenate(clouds)


def label_box(index: int, label: dict, world_from_vehicle: Float[Array, "4 4"]) -> Box:
    """Return the box of a label of time step `index`."""
    box = label["box"]
    cos, sin = np.cos(box["heading"]), np.sin(box["heading"])
    pose = np.array([[cos, -sin, 0, box["center_x"]], [sin, cos, 0, box["center_y"]], [0, 0, 1, box["center_z"]]])
    # Lane-shift scores count the points of the top LiDAR; records before version 1.2 count all LiDARs only.
    counted = [n for n in (label["top_points"], label["points"]) if n is not None]
    return Box(
        track_id=label["id"],
        category=CATEGORIES.get(label["type"], "other"),
        time_index=index,
        world_from_object=world_from_vehicle @ np.vstack([pose, [0, 0, 0, 1]]),
        size=np.array([box["length"], box["width"], box["height"]]),
        num_points=counted[0] if counted else -1,
    )


def matrix(transform: dict) -> Float[Array, "4 4"]:
    """Return the 4x4 matrix of a Transform message."""
    return transform["transform"].reshape(4, 4)
