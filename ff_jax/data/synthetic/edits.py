"""Edit the traffic of a street (ground truth for edited scenes), and select one frame of a drive."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ff_jax.data.synthetic.types import Street


def remove_vehicle(street: Street, track_id: int) -> Street:
    """Remove a vehicle together with its shadow."""
    own = street.primitives.owner == track_id
    primitives = replace(street.primitives, radius=jnp.where(own, -1.0, street.primitives.radius))
    valid = street.vehicles.valid.at[track_id - 1].set(False)
    return replace(street, primitives=primitives, vehicles=replace(street.vehicles, valid=valid))


def move_vehicle(street: Street, track_id: int, offset: Float[ndarray, "3"]) -> Street:
    """Move a vehicle at all times; `offset` is forward, left, up in its own frame, meters."""
    yaw = street.vehicles.yaw[track_id - 1]
    x, y, z = offset
    shift = jnp.stack([x * jnp.cos(yaw) - y * jnp.sin(yaw), x * jnp.sin(yaw) + y * jnp.cos(yaw), z + 0 * yaw], -1)
    return replace(
        street, vehicles=replace(street.vehicles, position=street.vehicles.position.at[track_id - 1].add(shift))
    )


def single_frame(street: Street, time_index: int) -> Street:
    """Select one time of the drive as a drive of one frame; its compiled programs serve drives of any length."""
    window = slice(time_index, time_index + 1)
    vehicles = street.vehicles
    poses = {name: np.asarray(getattr(vehicles, name))[:, window] for name in ("position", "yaw")}
    ego = {name: np.asarray(getattr(street, name))[window] for name in ("world_from_ego", "times", "exposures")}
    return replace(street, vehicles=replace(vehicles, **poses), **ego)
