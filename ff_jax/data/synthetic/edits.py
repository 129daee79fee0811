"""Change a street's traffic: the ground truth of an edited scene; take one moment out of a drive."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ff_jax.data.synthetic.types import World


def without(world: World, track_id: int) -> World:
    """Return the street without a vehicle, its shadow included."""
    own = world.primitives.owner == track_id
    primitives = world.primitives.replace(radius=jnp.where(own, -1.0, world.primitives.radius))
    valid = world.vehicles.valid.at[track_id - 1].set(False)
    return world.replace(primitives=primitives, vehicles=world.vehicles.replace(valid=valid))


def displaced(world: World, track_id: int, by: Float[ndarray, "3"]) -> World:
    """Return the street with a vehicle moved at all times; `by` is forward, left, up in its own frame, metres."""
    yaw = world.vehicles.yaw[track_id - 1]
    x, y, z = by
    shift = jnp.stack([x * jnp.cos(yaw) - y * jnp.sin(yaw), x * jnp.sin(yaw) + y * jnp.cos(yaw), z + 0 * yaw], -1)
    return world.replace(vehicles=world.vehicles.replace(position=world.vehicles.position.at[track_id - 1].add(shift)))


def moment(world: World, time_index: int) -> World:
    """Return one moment of the drive as a drive of one frame: a program compiled for it serves drives of any length."""
    only = slice(time_index, time_index + 1)
    vehicles = world.vehicles
    driven = {name: np.asarray(getattr(vehicles, name))[:, only] for name in ("position", "yaw")}
    alone = {name: np.asarray(getattr(world, name))[only] for name in ("world_from_ego", "times", "exposures")}
    return world.replace(vehicles=vehicles.replace(**driven), **alone)
