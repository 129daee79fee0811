"""Polar coordinates about the optical axis, and the records that the mappings of a lens return."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

TINY = 1e-12  # smallest distance from the axis that is divided by


class LensPoints(NamedTuple):
    """Points of the lens plane, and whether their directions are in the domain of the lens."""

    xy: Float[Array, "*n 2"]
    is_inside: Bool[Array, "*n"]


class LensRays(NamedTuple):
    """Unit directions in the camera frame, and whether they are in the domain of the lens."""

    directions: Float[Array, "*n 3"]
    is_inside: Bool[Array, "*n"]


def length(xy: Float[Array, "*n 2"]) -> Float[Array, "*n"]:
    """Compute the length of vectors, at least `TINY`, whose derivative is finite everywhere."""
    return jnp.sqrt(jnp.maximum(jnp.sum(xy * xy, -1), TINY**2))


def polar(points: Float[Array, "*n 3"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """Compute the distance from the optical axis, at least `TINY` meters, and the angle from it, radians."""
    rho = length(points[..., :2])
    return rho, jnp.arctan2(rho, points[..., 2])


def direction_at(outward: Float[Array, "*n 2"], angle: Float[Array, "*n"]) -> Float[Array, "*n 3"]:
    """Compute the unit directions at an angle from the axis, in unit directions of the lens plane."""
    return jnp.concatenate([outward * jnp.sin(angle)[..., None], jnp.cos(angle)[..., None]], -1)


def rays_at(
    outward: Float[Array, "*n 2"], angle: Float[Array, "*n"], limit: Float[Array, ""], beyond: Float[Array, "*n"]
) -> LensRays:
    """Compute the rays at an angle, or, beyond the domain, at the largest angle times `beyond`."""
    angle = jnp.where(beyond <= 1.0, angle, jnp.minimum(limit * beyond, jnp.pi))
    return LensRays(direction_at(outward, angle), beyond <= 1.0)
