"""Labels of the street: tracked boxes and lane geometry."""

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jaxtyping import Bool, Float, Int

from ff_jax.data.synthetic.ground import street_to_world
from ff_jax.data.synthetic.road_texture import ZEBRA_MARGIN
from ff_jax.data.synthetic.types import Street


@struct.dataclass
class VehicleBoxes:
    """Tracked 3D boxes of one frame; object frame: center of the box, x forward, y left, z up."""

    track_id: Int[Array, "V"]
    kind: Int[Array, "V"]  # index into VEHICLE_CLASSES
    world_from_object: Float[Array, "V 4 4"]  # meters
    size: Float[Array, "V 3"]  # meters: length, width, height
    valid: Bool[Array, "V"]


def vehicle_boxes(street: Street, time_index: int | Int[Array, ""]) -> VehicleBoxes:
    """Compute the boxes of all vehicles at one frame; unused slots are not valid."""
    own = street.vehicles
    yaw, position = own.yaw[:, time_index], own.position[:, time_index]
    zero, one = jnp.zeros_like(yaw), jnp.ones_like(yaw)
    rows = (
        (jnp.cos(yaw), -jnp.sin(yaw), zero, position[:, 0]),
        (jnp.sin(yaw), jnp.cos(yaw), zero, position[:, 1]),
        (zero, zero, one, position[:, 2]),
        (zero, zero, zero, one),
    )
    pose = jnp.stack([jnp.stack(row, -1) for row in rows], -2)
    return VehicleBoxes(jnp.arange(1, yaw.shape[0] + 1), own.kind, pose, own.size, own.valid)


def lane_map(
    street: Street, low: float = -30.0, high: float = 120.0, step: float = 1.0
) -> list[tuple[str, Float[np.ndarray, "M 3"]]]:
    """Trace lane lines ("lane_line"), curb feet ("road_edge") and the zebra ("crosswalk") in the world, meters.

    The crosswalk is the closed outline of its paint, four corners.

    Args:
        world: the street.
        low: meters along the street where the lines begin.
        high: meters along the street where they end.
        step: meters between points.
    """
    s = np.arange(low, high + step / 2, step)
    curvature = float(street.road.curvature)

    def line(n: float) -> Float[np.ndarray, "M 3"]:
        return np.concatenate([street_to_world(curvature, s, np.full_like(s, n)), np.zeros((len(s), 1))], -1)

    valid, offsets = np.asarray(street.road.line_valid), np.asarray(street.road.line_n, float)
    curbs = np.asarray(street.road.curbs, float)
    begin, end = np.asarray(street.road.crossing, float)
    right, left = curbs[0] + ZEBRA_MARGIN, curbs[1] - ZEBRA_MARGIN
    corners = np.array([(begin, right), (begin, left), (end, left), (end, right), (begin, right)])
    zebra = np.concatenate([street_to_world(curvature, *corners.T), np.zeros((5, 1))], -1)
    lane_lines = [("lane_line", line(n)) for n in offsets[valid]]
    return [*lane_lines, *(("road_edge", line(n)) for n in curbs), ("crosswalk", zebra)]
