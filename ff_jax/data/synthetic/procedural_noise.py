"""Hash noise and box-filtered patterns: textures as functions of the position on a surface.

Every pattern takes the footprint of the pixel (meters) and fades to its mean where the footprint is larger.
Color triples lead the array: (3, ...).
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Float, Int


def hash_unit(x: Int[ArrayLike, "..."], y: Int[ArrayLike, "..."], salt: int = 0) -> Float[Array, "..."]:
    """Hash two integers to uniform numbers in [0, 1) (an xor-multiply finalizer)."""
    x, y = jnp.asarray(x).astype(jnp.uint32), jnp.asarray(y).astype(jnp.uint32)
    h = (x * jnp.uint32(0x9E3779B1)) ^ (y * jnp.uint32(0x85EBCA77)) ^ jnp.uint32(salt * 0x27D4EB2F & 0xFFFFFFFF)
    h = (h ^ (h >> 15)) * jnp.uint32(0x2C1B3C6D)
    h = (h ^ (h >> 12)) * jnp.uint32(0x297A2D39)
    h = h ^ (h >> 15)
    return (h >> 8).astype(jnp.float32) * (1.0 / (1 << 24))


def to_cell(x: Float[ArrayLike, "..."]) -> Int[Array, "..."]:
    """Round down to integers."""
    return jnp.floor(x).astype(jnp.int32)


def smoothstep(x: Float[ArrayLike, "..."], low: float, high: float) -> Float[Array, "..."]:
    """Evaluate the cubic step from 0 at `low` to 1 at `high`."""
    t = jnp.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def mix(a: Float[ArrayLike, "..."], b: Float[ArrayLike, "..."], t: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Interpolate from `a` to `b`."""
    return a + (b - a) * t  # pyright: ignore[reportOperatorIssue, reportReturnType] (ArrayLike has no operators)


def constant_color(color: tuple[float, float, float], like: Float[Array, "..."]) -> Float[Array, "3 ..."]:
    """Make a constant color that broadcasts against the scalar field `like`."""
    return jnp.asarray(color, jnp.float32).reshape(3, *(1,) * like.ndim)


def value_noise(x: Float[Array, "..."], y: Float[Array, "..."], salt: int = 0) -> Float[Array, "..."]:
    """Evaluate smooth noise in [0, 1] on a lattice of spacing 1."""
    i, j = to_cell(x), to_cell(y)
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    low = mix(hash_unit(i, j, salt), hash_unit(i + 1, j, salt), u)
    high = mix(hash_unit(i, j + 1, salt), hash_unit(i + 1, j + 1, salt), u)
    return mix(low, high, v)


# Wavelengths (meters) of the shared noise octaves: a fine-to-coarse family, then a second, independent one.
WAVES = (0.03, 0.1, 0.35, 1.2, 4.0, 12.0)
WAVES_2 = (0.22, 0.8, 3.0)


def octaves(x: Float[Array, "*r"], y: Float[Array, "*r"], footprint: Float[Array, "*r"]) -> Float[Array, "9 *r"]:
    """Evaluate zero-mean noises of the wavelengths `WAVES` and `WAVES_2`.

    All materials share one evaluation: each is a weighted sum of the octaves. An octave fades out where the footprint
    reaches its wavelength, so distant surfaces do not alias.
    """
    length = jnp.asarray(WAVES + WAVES_2, jnp.float32).reshape((-1,) + (1,) * x.ndim)
    shift = 17.3 * jnp.arange(length.shape[0], dtype=jnp.float32).reshape(length.shape)
    noise = value_noise(x / length + shift, y / length - shift) - 0.5
    return noise * (1.0 - smoothstep(footprint / length, 0.5, 1.5))


def sum_octaves(
    noise: Float[Array, "9 ..."], fine: tuple[float, ...], second: tuple[float, ...] = ()
) -> Float[Array, "..."]:
    """Sum octaves with the weights `fine` (of `WAVES`) and `second` (of `WAVES_2`)."""
    total = jnp.zeros_like(noise[0])
    for k, weight in [*enumerate(fine), *enumerate(second, len(WAVES))]:
        if weight:
            total = total + weight * noise[k]
    return total


def band(x: Float[Array, "..."], half: Float[ArrayLike, "..."], footprint: Float[Array, "..."]) -> Float[Array, "..."]:
    """Compute the share of a window of width `footprint` about `x` that lies in [-half, half]."""
    w = jnp.maximum(footprint, 1e-4)
    overlap = jnp.minimum(x + w / 2, half) - jnp.maximum(x - w / 2, jnp.negative(half))
    return jnp.clip(overlap / w, 0.0, 1.0)


def rect(
    x: Float[Array, "..."],
    y: Float[Array, "..."],
    half_x: Float[ArrayLike, "..."],
    half_y: Float[ArrayLike, "..."],
    footprint: Float[Array, "..."],
) -> Float[Array, "..."]:
    """Evaluate the filtered indicator of the rectangle |x| <= half_x, |y| <= half_y."""
    return band(x, half_x, footprint) * band(y, half_y, footprint)


def stripes(
    x: Float[Array, "..."],
    period: Float[ArrayLike, "..."],
    width: Float[ArrayLike, "..."],
    footprint: Float[Array, "..."],
) -> Float[Array, "..."]:
    """Evaluate the filtered indicator of [0, width] repeated every `period` (exact box filter)."""
    w = jnp.maximum(footprint, 1e-4)

    def integral(a: Float[Array, "..."]) -> Float[Array, "..."]:
        cell = jnp.floor(a / period)
        return cell * width + jnp.minimum(a - cell * period, width)

    return jnp.clip((integral(x + w / 2) - integral(x - w / 2)) / w, 0.0, 1.0)


def triangle(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Evaluate the triangle wave of period 1 in [-1, 1]."""
    return 4.0 * jnp.abs(x - jnp.floor(x) - 0.5) - 1.0


def leaf_field(
    x: Float[Array, "..."], y: Float[Array, "..."], z: Float[Array, "..."], frequency: Float[ArrayLike, "..."]
) -> Float[Array, "..."]:
    """Evaluate an irregular field in [-3, 3]: the sum of three folded, warped triangle waves.

    It has no hashes because it is evaluated for every leafy ellipsoid along a ray.
    """
    x, y, z = x * frequency, y * frequency, z * frequency
    x2 = x + 0.4 * triangle(0.47 * y + 0.31 * z) + 0.23 * triangle(1.7 * z + 0.2)
    y2 = y + 0.4 * triangle(0.53 * z + 0.37 * x + 0.4) + 0.23 * triangle(1.9 * x)
    z2 = z + 0.4 * triangle(0.43 * x + 0.41 * y + 0.7) + 0.23 * triangle(1.6 * y + 0.6)
    return triangle(x2) + triangle(y2) + triangle(z2)
