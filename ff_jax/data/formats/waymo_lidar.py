"""Convert Waymo's range images, with a range for every beam and azimuth, to points.

The rows of a range image are the beams from the highest to the lowest, its columns the azimuths from pi to -pi about
the vehicle's x axis (Sun et al., Scalability in Perception for Autonomous Driving: Waymo Open Dataset, 2020, and the
comments of dataset.proto).
"""

import zlib

import numpy as np
from jaxtyping import Float

from ff_jax.data.formats.common import rigid
from ff_jax.data.formats.protobuf_wire import decode
from ff_jax.data.formats.waymo_messages import MATRIX
from ff_jax.data.scene_data import invert_rigid
from ff_jax.runtime.untrusted_files import reason

_MAX_BYTES = 1 << 27  # of a decompressed range image; those of Waymo have 11 MB

Array = np.ndarray


def unpack_matrix(data: bytes, name: str) -> Float[Array, "H W C"]:
    """Decompress the zlib-compressed MatrixFloat in `data`; `name` is its origin, for the message.

    Raises:
        ValueError: the bytes are damaged.
    """
    try:
        message = decode(_decompress(data), MATRIX)
        return message["data"].reshape(message["shape"]["dims"])
    except (zlib.error, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: a range image is damaged ({reason(error)}); download the file again.") from error


def _decompress(data: bytes) -> bytes:
    """Decompress bytes, up to a size that no range image has."""
    decompressor = zlib.decompressobj()
    content = decompressor.decompress(data, _MAX_BYTES)
    if not decompressor.eof:
        raise ValueError(f"it has more than {_MAX_BYTES} bytes, or ends too early")
    return content


def uniform_inclinations(low: float, high: float, rows: int) -> Float[Array, "H"]:
    """Compute the inclinations (radians, lowest first) of `rows` beams spread evenly between two limits."""
    return low + (np.arange(rows) + 0.5) / rows * (high - low)


def range_image_points(
    image: Float[Array, "H W C"],
    inclinations: Float[Array, "H"],
    vehicle_from_lidar: Float[Array, "4 4"],
    world_from_vehicle: Float[Array, "4 4"],
    pixel_poses: Float[Array, "H W 6"] | None,
) -> Float[Array, "N 4"]:
    """Convert a range image to points: x, y, z (meters, LiDAR frame) and intensity, float32.

    Args:
        image: channels range (meters, 0 or less without a return), intensity, and others.
        inclinations: of the beams, radians, lowest first.
        vehicle_from_lidar: extrinsic calibration.
        world_from_vehicle: pose of the frame, to which the points are motion-compensated.
        pixel_poses: roll, pitch, yaw (radians), x, y, z (meters, world) of the vehicle at the time of each pixel;
            None if the image is already compensated.
    """
    rows, columns = np.nonzero(image[..., 0] > 0)
    ranges = image[rows, columns, 0].astype(float)
    turn = np.arctan2(vehicle_from_lidar[1, 0], vehicle_from_lidar[0, 0])
    azimuth = np.pi * (1 - (2 * columns + 1) / image.shape[1]) - turn
    inclination = inclinations[::-1][rows]
    flat = ranges * np.cos(inclination)
    xyz = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), ranges * np.sin(inclination)], -1)
    if pixel_poses is not None:
        lidar_from_world = invert_rigid(world_from_vehicle @ vehicle_from_lidar)
        compensation = lidar_from_world @ _vehicle_poses(pixel_poses[rows, columns].astype(float)) @ vehicle_from_lidar
        xyz = np.einsum("nij,nj->ni", compensation[:, :3, :3], xyz) + compensation[:, :3, 3]
    return np.concatenate([xyz, image[rows, columns, 1:2]], 1).astype(np.float32)


def _vehicle_poses(values: Float[Array, "N 6"]) -> Float[Array, "N 4 4"]:
    """Build poses whose rotation is yaw (about z) times pitch (about y) times roll (about x)."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(values[:, :3]).T, np.sin(values[:, :3]).T
    rows = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    return rigid(np.stack([np.stack(row, -1) for row in rows], -2), values[:, 3:])
