"""Sky, sun and the shading of surfaces (linear colors until `tone_map`)."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ff_jax.data.synthetic.facades import Appearance
from ff_jax.data.synthetic.procedural_noise import mix, smoothstep, value_noise
from ff_jax.data.synthetic.types import Sky, Vehicles
from ff_jax.data.synthetic.vectors import dot


def _column(color: Float[Array, "3"], like: Float[Array, "*r"]) -> Float[Array, "3 ..."]:
    return color.reshape(3, *(1,) * like.ndim)


def sky_gradient(sky: Sky, direction: Float[Array, "3 *r"]) -> Float[Array, "3 *r"]:
    """Compute the cloudless sky in unit directions, for reflections and haze."""
    up = jnp.clip(direction[2], 0.0, 1.0)
    color = mix(_column(sky.horizon, up), _column(sky.zenith, up), (1.0 - (1.0 - up) ** 3)[None])
    toward = jnp.clip(dot(direction, _column(sky.sun, up)), 0.0, 1.0)
    return color + _column(sky.sun_color, up) * (0.10 * toward**6 + 0.25 * toward**60)


def sky_color(sky: Sky, direction: Float[Array, "3 *r"]) -> Float[Array, "3 *r"]:
    """Compute the sky with clouds and the sun disc in unit directions."""
    up = jnp.maximum(direction[2], 0.02)
    x, y = direction[0] / (up + 0.12) + sky.offset[0], direction[1] / (up + 0.12) + sky.offset[1]
    density = jnp.zeros_like(up)
    for k, (scale, amplitude) in enumerate(((0.7, 0.5), (1.7, 0.27), (4.1, 0.15), (9.3, 0.08))):
        density = density + amplitude * value_noise(x * scale + 3.1 * k, y * scale, 81)
    cloud = smoothstep(density - 0.75 + 0.55 * sky.cloud_cover, 0.0, 0.3) * smoothstep(up, 0.02, 0.2)
    light = 0.95 - 0.35 * smoothstep(density, 0.5, 0.85)
    clear = sky_gradient(sky, direction)
    toward = dot(direction, _column(sky.sun, up))
    disc = 8.0 * smoothstep(toward, 0.99985, 0.99995) * (1.0 - cloud)
    return mix(clear, light[None], cloud[None]) + disc


def ambient_occlusion(vehicles: Vehicles, frame: Float[Array, ""], point: Float[Array, "3 *r"]) -> Float[Array, "*r"]:
    """Compute the share of the sky that vehicles leave visible near and beneath them, in [0, 1]."""
    low = jnp.clip(jnp.floor(frame).astype(jnp.int32), 0, max(vehicles.yaw.shape[1] - 2, 0))
    high = jnp.minimum(low + 1, vehicles.yaw.shape[1] - 1)
    u = frame - low
    center = vehicles.position[:, low] * (1 - u) + vehicles.position[:, high] * u
    shape = (-1,) + (1,) * (point.ndim - 1)
    yaw = vehicles.yaw[:, low].reshape(shape)
    dx, dy = point[0] - center[:, 0].reshape(shape), point[1] - center[:, 1].reshape(shape)
    x = jnp.abs(dx * jnp.cos(yaw) + dy * jnp.sin(yaw)) - 0.5 * vehicles.size[:, 0].reshape(shape)
    y = jnp.abs(dy * jnp.cos(yaw) - dx * jnp.sin(yaw)) - 0.5 * vehicles.size[:, 1].reshape(shape)
    near = smoothstep(x, 0.55, -0.45) * smoothstep(y, 0.55, -0.45) * smoothstep(point[2], 1.0, 0.0)
    return jnp.prod(1.0 - 0.85 * near * vehicles.valid.reshape(shape), 0)


def shade(
    sky: Sky,
    appearance: Appearance,
    normal: Float[Array, "3 *r"],
    direction: Float[Array, "3 *r"],
    sunlit: Float[Array, "*r"],
    sky_visibility: Float[Array, "*r"],
    wrap: Float[Array, "*r"],
) -> Float[Array, "3 *r"]:
    """Compute the light that leaves a surface towards the viewer.

    Args:
        sky: sun and sky.
        appearance: of the surface.
        normal: shading normal, unit vector.
        direction: unit vector from the viewer to the surface.
        sunlit: 1 in the sun, 0 in shadow.
        sky_visibility: visible share of the sky.
        wrap: amount of light from behind (leaves).
    """
    cosine = dot(normal, _column(sky.sun, sunlit))
    direct = jnp.maximum((cosine + wrap) / (1.0 + wrap), 0.0) * sunlit
    upward = 0.5 + 0.5 * normal[2]
    ambient = _column(sky.zenith * 0.55 + sky.horizon * 0.45, sunlit) * (0.35 + 0.65 * upward)
    bounce = _column(sky.sun_color, sunlit) * 0.10 * (1.0 - upward)
    diffuse = appearance.albedo * (_column(sky.sun_color, sunlit) * direct + (ambient + bounce) * sky_visibility)
    facing = jnp.clip(-dot(normal, direction), 0.0, 1.0)
    mirror = direction + 2.0 * facing * normal
    fresnel = appearance.gloss * (0.05 + 0.75 * (1.0 - facing) ** 4)
    # A reflection shows the street below the horizon, the opposite houses above it, then the sky.
    reflection = mix(0.13, sky_gradient(sky, mirror), smoothstep(mirror[2], 0.05, 0.45)[None])
    shine = jnp.clip(dot(mirror, _column(sky.sun, sunlit)), 0.0, 1.0) ** 200 * 6.0 * sunlit
    return diffuse + fresnel * (reflection + shine) + appearance.glow * jnp.maximum(appearance.albedo, 0.1)


def tone_map(linear: Float[Array, "..."], exposure: Float[Array, "2"]) -> Float[Array, "..."]:
    """Apply a soft shoulder and the gamma of stored images, then gain and bias; clip to [0, 1]."""
    mapped = 1.1 * linear * (1.0 + 0.06 * linear) / (1.0 + 0.66 * linear)
    gamma_encoded = jnp.clip(mapped, 0.0, 1.0) ** (1.0 / 2.2)
    gamma_encoded = mix(
        gamma_encoded, gamma_encoded * gamma_encoded * (3.0 - 2.0 * gamma_encoded), 0.35
    )  # contrast of a camera's tone curve
    return jnp.clip(gamma_encoded * exposure[0] + exposure[1], 0.0, 1.0)
