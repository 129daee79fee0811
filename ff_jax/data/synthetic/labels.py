"""Labels of the street: tracked boxes and lane geometry."""

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jaxtyping import Bool, Float, Int

from ff_jax.data.synthetic.ground import place
from ff_jax.data.synthetic.road_texture import ZEBRA_MARGIN
from ff_jax.data.synthetic.types import World


@struct.dataclass
class Boxes:
    """Tracked 3D boxes of one frame; object frame: centre of the box, x forward, y left, z up."""

    track_id: Int[Array, "V"]
    kind: Int[Array, "V"]  # index into VEHICLE_CLASSES
    world_from_object: Float[Array, "V 4 4"]  # metres
    size: Float[Array, "V 3"]  # metres: length, width, height
    valid: Bool[Array, "V"]


def boxes(world: World, time_index: int | Int[Array, ""]) -> Boxes:
    """Return all vehicles at one frame; unused slots are not valid."""
    own = world.vehicles
    yaw, position = own.yaw[:, time_index], own.position[:, time_index]
    zero, one = jnp.zeros_like(yaw), jnp.ones_like(yaw)
    rows = (
        (jnp.cos(yaw), -jnp.sin(yaw), zero, position[:, 0]),
        (jnp.sin(yaw), jnp.cos(yaw), zero, position[:, 1]),
        (zero, zero, one, position[:, 2]),
        (zero, zero, zero, one),
    )
    pose = jnp.stack([jnp.stack(row, -1) for row in rows], -2)
    return Boxes(jnp.arange(1, yaw.shape[0] + 1), own.kind, pose, own.size, own.valid)


def lanes(
    world: World, low: float = -30.0, high: float = 120.0, step: float = 1.0
) -> list[tuple[str, Float[np.ndarray, "M 3"]]]:
    """Return lane lines ("lane_line"), kerb feet ("road_edge") and the zebra ("crosswalk") in the world, metres.

    The crossing is the closed outline of its paint, four corners.

    Args:
        world: the street.
        low: metres along the street where the lines begin.
        high: metres along the street where they end.
        step: metres between points.
    """
    s = np.arange(low, high + step / 2, step)
    curvature = float(world.street.curvature)

    def line(n: float) -> np.ndarray:
        return np.concatenate([place(curvature, s, np.full_like(s, n)), np.zeros((len(s), 1))], -1)

    valid, offsets = np.asarray(world.street.line_valid), np.asarray(world.street.line_n, float)
    kerbs = np.asarray(world.street.kerbs, float)
    begin, end = np.asarray(world.street.crossing, float)
    right, left = kerbs[0] + ZEBRA_MARGIN, kerbs[1] - ZEBRA_MARGIN
    corners = np.array([(begin, right), (begin, left), (end, left), (end, right), (begin, right)])
    zebra = np.concatenate([place(curvature, *corners.T), np.zeros((5, 1))], -1)
    painted = [("lane_line", line(n)) for n in offsets[valid]]
    return [*painted, *(("road_edge", line(n)) for n in kerbs), ("crosswalk", zebra)]
