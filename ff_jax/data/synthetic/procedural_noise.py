"""Hash noise and box-filtered patterns: textures that are functions of the place on a surface.

Every pattern takes the footprint of the pixel (metres) and fades to its mean when the footprint outgrows it.
Colour triples lead the array: (3, ...).
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Float, Int


def hash_unit(x: Int[ArrayLike, "..."], y: Int[ArrayLike, "..."], salt: int = 0) -> Float[Array, "..."]:
    """Return uniform numbers in [0, 1) that depend on two integers (an xor-multiply finaliser)."""
    x, y = jnp.asarray(x).astype(jnp.uint32), jnp.asarray(y).astype(jnp.uint32)
    h = (x * jnp.uint32(0x9E3779B1)) ^ (y * jnp.uint32(0x85EBCA77)) ^ jnp.uint32(salt * 0x27D4EB2F & 0xFFFFFFFF)
    h = (h ^ (h >> 15)) * jnp.uint32(0x2C1B3C6D)
    h = (h ^ (h >> 12)) * jnp.uint32(0x297A2D39)
    h = h ^ (h >> 15)
    return (h >> 8).astype(jnp.float32) * (1.0 / (1 << 24))


def to_cell(x: Float[ArrayLike, "..."]) -> Int[Array, "..."]:
    """Return the integer below `x`."""
    return jnp.floor(x).astype(jnp.int32)


def smooth(x: Float[ArrayLike, "..."], low: float, high: float) -> Float[Array, "..."]:
    """Return the cubic step from 0 at `low` to 1 at `high`."""
    t = jnp.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def mix(a: Float[ArrayLike, "..."], b: Float[ArrayLike, "..."], t: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Interpolate from `a` to `b`."""
    return a + (b - a) * t


def tint(color: tuple[float, float, float], like: Float[Array, "..."]) -> Float[Array, "3 ..."]:
    """Return a constant colour that broadcasts against the scalar field `like`."""
    return jnp.asarray(color, jnp.float32).reshape(3, *(1,) * like.ndim)


def value_noise(x: Float[Array, "..."], y: Float[Array, "..."], salt: int = 0) -> Float[Array, "..."]:
    """Return smooth noise in [0, 1] with a lattice of spacing 1."""
    i, j = to_cell(x), to_cell(y)
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    low = mix(hash_unit(i, j, salt), hash_unit(i + 1, j, salt), u)
    high = mix(hash_unit(i, j + 1, salt), hash_unit(i + 1, j + 1, salt), u)
    return mix(low, high, v)


# Wavelengths (metres) of the shared noise octaves: a fine-to-coarse family, then a second, independent one.
WAVES = (0.03, 0.1, 0.35, 1.2, 4.0, 12.0)
WAVES_2 = (0.22, 0.8, 3.0)


def octaves(x: Float[Array, "*r"], y: Float[Array, "*r"], footprint: Float[Array, "*r"]) -> Float[Array, "9 *r"]:
    """Return zero-mean noises of the wavelengths `WAVES` and `WAVES_2`.

    One evaluation serves every material, because a point has one material: materials are weighted sums of
    these. A wave fades out where the footprint reaches its length, so distant surfaces do not alias.
    """
    length = jnp.asarray(WAVES + WAVES_2, jnp.float32).reshape((-1,) + (1,) * x.ndim)
    shift = 17.3 * jnp.arange(length.shape[0], dtype=jnp.float32).reshape(length.shape)
    noise = value_noise(x / length + shift, y / length - shift) - 0.5
    return noise * (1.0 - smooth(footprint / length, 0.5, 1.5))


def blend(noise: Float[Array, "9 ..."], fine: tuple[float, ...], second: tuple[float, ...] = ()) -> Float[Array, "..."]:
    """Return the weighted sum of octaves; `fine` goes with `WAVES`, `second` with `WAVES_2`."""
    total = jnp.zeros_like(noise[0])
    for k, weight in [*enumerate(fine), *enumerate(second, len(WAVES))]:
        if weight:
            total = total + weight * noise[k]
    return total


def band(x: Float[Array, "..."], half: Float[ArrayLike, "..."], footprint: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return the share of a window of width `footprint` about `x` that lies in [-half, half]."""
    w = jnp.maximum(footprint, 1e-4)
    overlap = jnp.minimum(x + w / 2, half) - jnp.maximum(x - w / 2, -half)
    return jnp.clip(overlap / w, 0.0, 1.0)


def rect(
    x: Float[Array, "..."],
    y: Float[Array, "..."],
    half_x: Float[ArrayLike, "..."],
    half_y: Float[ArrayLike, "..."],
    footprint: Float[Array, "..."],
) -> Float[Array, "..."]:
    """Return the filtered indicator of the rectangle |x| <= half_x, |y| <= half_y."""
    return band(x, half_x, footprint) * band(y, half_y, footprint)


def stripes(
    x: Float[Array, "..."],
    period: Float[ArrayLike, "..."],
    width: Float[ArrayLike, "..."],
    footprint: Float[Array, "..."],
) -> Float[Array, "..."]:
    """Return the filtered indicator of [0, width] repeated every `period` (exact box filter)."""
    w = jnp.maximum(footprint, 1e-4)

    def integral(a):
        cell = jnp.floor(a / period)
        return cell * width + jnp.minimum(a - cell * period, width)

    return jnp.clip((integral(x + w / 2) - integral(x - w / 2)) / w, 0.0, 1.0)


def triangle(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return the triangle wave of period 1 in [-1, 1]."""
    return 4.0 * jnp.abs(x - jnp.floor(x) - 0.5) - 1.0


def leaf_field(
    x: Float[Array, "..."], y: Float[Array, "..."], z: Float[Array, "..."], frequency: Float[ArrayLike, "..."]
) -> Float[Array, "..."]:
    """Return a cheap irregular field in [-3, 3]: the sum of three folded, warped triangle waves.

    It is evaluated for every leafy shape that a ray meets, hence no hashes.
    """
    x, y, z = x * frequency, y * frequency, z * frequency
    x2 = x + 0.4 * triangle(0.47 * y + 0.31 * z) + 0.23 * triangle(1.7 * z + 0.2)
    y2 = y + 0.4 * triangle(0.53 * z + 0.37 * x + 0.4) + 0.23 * triangle(1.9 * x)
    z2 = z + 0.4 * triangle(0.43 * x + 0.41 * y + 0.7) + 0.23 * triangle(1.6 * y + 0.6)
    return triangle(x2) + triangle(y2) + triangle(z2)
