"""The street as a surface: arc coordinates, and the intersection of rays with roadway, curbs and sidewalks."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Bool, Float

from ff_jax.data.synthetic.types import Road

FAR = 1e9  # meters: no hit


def street_to_world(
    curvature: float | int, s: float | Float[np.ndarray, "*n"], n: float | Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n 2"]:
    """Convert street coordinates (s, n) to world x and y (host side)."""
    s, n = np.asarray(s, float), np.asarray(n, float)
    theta = curvature * s
    x = s * np.sinc(theta / np.pi) - n * np.sin(theta)
    y = s * (theta / 2) * np.sinc(theta / (2 * np.pi)) ** 2 + n * np.cos(theta)
    return np.stack([x, y], -1)


def world_to_street(
    road: Road, x: Float[ArrayLike, "*r"], y: Float[ArrayLike, "*r"]
) -> tuple[Float[Array, "*r"], Float[Array, "*r"]]:
    """Convert world x and y to street coordinates (s, n); exact for every curvature, including 0."""
    k, x, y = road.curvature, jnp.asarray(x), jnp.asarray(y)
    g = y - 0.5 * k * (x * x + y * y)
    n = 2.0 * g / (1.0 + jnp.sqrt(jnp.maximum(1.0 - 2.0 * k * g, 1e-6)))
    u = x / (1.0 - k * y)
    small = jnp.abs(k * u) < 1e-3
    exact = jnp.arctan(jnp.where(small, 1.0, k * u)) / jnp.where(k == 0, 1.0, k)
    return jnp.where(small, u * (1.0 - (k * u) ** 2 / 3.0), exact), n


def _plane(
    z: float | Float[Array, ""], origin: Float[Array, "3 *r"], direction: Float[Array, "3 *r"]
) -> Float[Array, "*r"]:
    down = jnp.where(jnp.abs(direction[2]) < 1e-9, -1e-9, direction[2])
    t = (z - origin[2]) / down
    return jnp.where(t > 0, t, FAR)


def _curb(
    road: Road, n: Float[Array, ""], origin: Float[Array, "3 *r"], direction: Float[Array, "3 *r"]
) -> Float[Array, "*r"]:
    """Intersect rays with the vertical wall over the arc at lateral offset n: k/2 |p|^2 - y + n - k/2 n^2 = 0."""
    k, (ox, oy, oz), (dx, dy, dz) = road.curvature, origin, direction
    a = 0.5 * k * (dx * dx + dy * dy)
    b = k * (ox * dx + oy * dy) - dy
    c = 0.5 * k * (ox * ox + oy * oy) - oy + n - 0.5 * k * n * n
    root = jnp.sqrt(jnp.maximum(b * b - 4 * a * c, 0.0))
    # Citardauq form: stable where the arc is nearly straight (a -> 0).
    q = jnp.where(b < 0, -b + root, -b - root)
    t = 2.0 * c / jnp.where(jnp.abs(q) < 1e-12, 1e-12, q)
    z = oz + t * dz
    return jnp.where((t > 0) & (z >= 0) & (z <= road.curb_height), t, FAR)


def hit_ground(
    road: Road, origin: Float[Array, "3 *r"], direction: Float[Array, "3 *r"]
) -> tuple[Float[Array, "*r"], Float[Array, "3 *r"]]:
    """Intersect rays with the street surface: ray parameter (FAR: no hit) and surface normal."""

    def on_road(t: Float[Array, "*r"]) -> Bool[Array, "*r"]:
        x, y = origin[0] + t * direction[0], origin[1] + t * direction[1]
        n = world_to_street(road, x, y)[1]
        return (n > road.curbs[0]) & (n < road.curbs[1])

    roadway, sidewalk = _plane(0.0, origin, direction), _plane(road.curb_height, origin, direction)
    roadway = jnp.where(on_road(roadway), roadway, FAR)
    sidewalk = jnp.where(on_road(sidewalk), FAR, sidewalk)
    right = _curb(road, road.curbs[0], origin, direction)
    left = _curb(road, road.curbs[1], origin, direction)
    curb = jnp.minimum(right, left)
    flat = jnp.minimum(roadway, sidewalk)
    t = jnp.minimum(flat, curb)
    side = jnp.where(right < left, 1.0, -1.0)
    x, y = origin[0] + t * direction[0], origin[1] + t * direction[1]
    wall = jnp.stack([-road.curvature * x * side, (1.0 - road.curvature * y) * side, jnp.zeros_like(t)])
    up = jnp.stack([jnp.zeros_like(t), jnp.zeros_like(t), jnp.ones_like(t)])
    return jnp.where(t < 400.0, t, FAR), jnp.where(curb < flat, wall, up)
