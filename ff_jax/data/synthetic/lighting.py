"""Sky, sun and the shading of surfaces (linear colours until `to_stored`)."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ff_jax.data.synthetic.facades import Look
from ff_jax.data.synthetic.procedural_noise import mix, smooth, value_noise
from ff_jax.data.synthetic.types import Sky, Vehicles
from ff_jax.data.synthetic.vectors import dot


def _column(color, like):
    return color.reshape(3, *(1,) * like.ndim)


def sky_gradient(sky: Sky, direction: Float[Array, "3 *r"]) -> Float[Array, "3 *r"]:
    """Return the cloudless sky in unit directions, for reflections and haze."""
    up = jnp.clip(direction[2], 0.0, 1.0)
    color = mix(_column(sky.horizon, up), _column(sky.zenith, up), (1.0 - (1.0 - up) ** 3)[None])
    toward = jnp.clip(dot(direction, _column(sky.sun, up)), 0.0, 1.0)
    return color + _column(sky.sun_color, up) * (0.10 * toward**6 + 0.25 * toward**60)


def sky_color(sky: Sky, direction: Float[Array, "3 *r"]) -> Float[Array, "3 *r"]:
    """Return sky with clouds and the sun disc in unit directions."""
    up = jnp.maximum(direction[2], 0.02)
    x, y = direction[0] / (up + 0.12) + sky.offset[0], direction[1] / (up + 0.12) + sky.offset[1]
    density = jnp.zeros_like(up)
    for k, (scale, amplitude) in enumerate(((0.7, 0.5), (1.7, 0.27), (4.1, 0.15), (9.3, 0.08))):
        density = density + amplitude * value_noise(x * scale + 3.1 * k, y * scale, 81)
    cloud = smooth(density - 0.75 + 0.55 * sky.cloud_cover, 0.0, 0.3) * smooth(up, 0.02, 0.2)
    light = 0.95 - 0.35 * smooth(density, 0.5, 0.85)
    clear = sky_gradient(sky, direction)
    toward = dot(direction, _column(sky.sun, up))
    disc = 8.0 * smooth(toward, 0.99985, 0.99995) * (1.0 - cloud)
    return mix(clear, light[None], cloud[None]) + disc


def contact_shade(vehicles: Vehicles, frame: Float[Array, ""], point: Float[Array, "3 *r"]) -> Float[Array, "*r"]:
    """Return how much of the sky is left near and beneath vehicles, in [0, 1]."""
    low = jnp.clip(jnp.floor(frame).astype(jnp.int32), 0, max(vehicles.yaw.shape[1] - 2, 0))
    high = jnp.minimum(low + 1, vehicles.yaw.shape[1] - 1)
    u = frame - low
    center = vehicles.position[:, low] * (1 - u) + vehicles.position[:, high] * u
    shape = (-1,) + (1,) * (point.ndim - 1)
    yaw = vehicles.yaw[:, low].reshape(shape)
    dx, dy = point[0] - center[:, 0].reshape(shape), point[1] - center[:, 1].reshape(shape)
    x = jnp.abs(dx * jnp.cos(yaw) + dy * jnp.sin(yaw)) - 0.5 * vehicles.size[:, 0].reshape(shape)
    y = jnp.abs(dy * jnp.cos(yaw) - dx * jnp.sin(yaw)) - 0.5 * vehicles.size[:, 1].reshape(shape)
    near = smooth(x, 0.55, -0.45) * smooth(y, 0.55, -0.45) * smooth(point[2], 1.0, 0.0)
    return jnp.prod(1.0 - 0.85 * near * vehicles.valid.reshape(shape), 0)


def shade(
    sky: Sky,
    look: Look,
    normal: Float[Array, "3 *r"],
    direction: Float[Array, "3 *r"],
    sunlit: Float[Array, "*r"],
    openness: Float[Array, "*r"],
    wrap: Float[Array, "*r"],
) -> Float[Array, "3 *r"]:
    """Return the light that leaves a surface against `direction`, the unit vector from the viewer.

    `sunlit` is 0 in shadow, `openness` the share of the sky in view, `wrap` lights leaves from behind.
    """
    cosine = dot(normal, _column(sky.sun, sunlit))
    direct = jnp.maximum((cosine + wrap) / (1.0 + wrap), 0.0) * sunlit
    upward = 0.5 + 0.5 * normal[2]
    ambient = _column(sky.zenith * 0.55 + sky.horizon * 0.45, sunlit) * (0.35 + 0.65 * upward)
    bounce = _column(sky.sun_color, sunlit) * 0.10 * (1.0 - upward)
    diffuse = look.albedo * (_column(sky.sun_color, sunlit) * direct + (ambient + bounce) * openness)
    facing = jnp.clip(-dot(normal, direction), 0.0, 1.0)
    mirror = direction + 2.0 * facing * normal
    fresnel = look.gloss * (0.05 + 0.75 * (1.0 - facing) ** 4)
    # Below the horizon a mirror sees the street, above it the houses opposite, then the sky.
    seen = mix(0.13, sky_gradient(sky, mirror), smooth(mirror[2], 0.05, 0.45)[None])
    shine = jnp.clip(dot(mirror, _column(sky.sun, sunlit)), 0.0, 1.0) ** 200 * 6.0 * sunlit
    return diffuse + fresnel * (seen + shine) + look.glow * jnp.maximum(look.albedo, 0.1)


def to_stored(linear: Float[Array, "..."], exposure: Float[Array, "2"]) -> Float[Array, "..."]:
    """Apply a soft shoulder and the gamma of stored images, then gain and bias; clip to [0, 1]."""
    mapped = 1.1 * linear * (1.0 + 0.06 * linear) / (1.0 + 0.66 * linear)
    stored = jnp.clip(mapped, 0.0, 1.0) ** (1.0 / 2.2)
    stored = mix(stored, stored * stored * (3.0 - 2.0 * stored), 0.35)  # contrast of a camera's tone curve
    return jnp.clip(stored * exposure[0] + exposure[1], 0.0, 1.0)
