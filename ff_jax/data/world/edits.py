"""Change a street's traffic: the ground truth of an edited scene."""

import jax.numpy as jnp
from jaxtyping import Float
from numpy import ndarray

from ff_jax.data.world.structs import World


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
