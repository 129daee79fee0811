"""The arithmetic of one (Gaussian, pixel) pair, shared by every walk over a tile list.

A tile list has the Gaussians that can touch a tile, front to back. A walk visits them in that order and
carries, per pixel, the transmittance T (1 at the start) and sums:

    dx, dy, sigma = falloff(mean2d, conic, px, py)
    alpha, slope = alpha_of(opacity, sigma)
    weight = alpha * T;  sums += weight * features;  T -= weight

It may stop once T < T_STOP in every pixel. The adjoint, Fisher and EIG walks visit the list in the same
order. Let S be the sum over the whole list of weight * s (s: any value of a Gaussian in this pixel). The
derivative of S with respect to alpha is T s - (S - sum up to and including this Gaussian) / (1 - alpha), so
the rendered image is the only residual they need.

Arguments are scalars of one Gaussian or arrays of them that broadcast against the pixel coordinates. Nothing
here indexes, so that the same functions run in jnp code and inside Pallas kernel bodies.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from kernels.common.constants import ALPHA_MAX, ALPHA_MIN
from kernels.project.types import Projected, Values

LOG2_E = 1.4426950408889634
FOOTPRINT_COLUMNS = 6  # columns before the features in a table of Gaussians: mean x, y, conic a, b, c, opacity


class Splat(NamedTuple):
    """One Gaussian of the image plane (or several, broadcast against pixels), or a tangent of one."""

    mean2d: tuple[Values, Values]
    conic: tuple[Values, Values, Values]
    opacity: Values
    features: tuple[Values, ...]


def splat_table(projected: Projected, features: Float[Array, "N C"]) -> Float[Array, "N F"]:
    """Concatenate the columns of mean2d, conic, opacity and features."""
    return jnp.concatenate([projected.mean2d, projected.conic, projected.opacity[:, None], features], -1)


def splat_of(columns: Sequence[Values]) -> Splat:
    """Group the columns of a `splat_table`."""
    x, y, a, b, c, opacity, *features = columns
    return Splat((x, y), (a, b, c), opacity, tuple(features))


def falloff(
    mean2d: tuple[Values, Values], conic: tuple[Values, Values, Values], px: Values, py: Values
) -> tuple[Values, Values, Values]:
    """Compute (dx, dy) = mean - pixel, px, and the exponent sigma = (a dx^2 + c dy^2) / 2 + b dx dy.

    Terms of x alone come first: `px` may be one row of pixels and `py` several.
    """
    a, b, c = conic
    dx, dy = mean2d[0] - px, mean2d[1] - py
    return dx, dy, 0.5 * a * dx * dx + dy * (b * dx + 0.5 * c * dy)


def alpha_of(opacity: Values, sigma: Values) -> tuple[Values, Values]:
    """Compute alpha = min(ALPHA_MAX, opacity exp(-sigma)), 0 below ALPHA_MIN, and its slope.

    The slope is d alpha / d log(opacity) = - d alpha / d sigma: 0 where alpha is cut or capped.
    NaN becomes 0 in both.
    """
    raw = opacity * jnp.exp2(-LOG2_E * sigma)  # on a GPU, exp2 is one instruction, exp eight
    alpha = jnp.where(raw >= ALPHA_MIN, jnp.minimum(raw, ALPHA_MAX), 0.0)
    slope = jnp.where((raw >= ALPHA_MIN) & (raw < ALPHA_MAX), raw, 0.0)
    return alpha, slope


def alpha_gradient(
    dx: Values, dy: Values, conic: tuple[Values, Values, Values], slope: Values
) -> tuple[Values, Values, Values, Values, Values, Values]:
    """Compute d alpha / d (mean x, mean y, conic a, b, c, log opacity)."""
    a, b, c = conic
    sx, sy = slope * dx, slope * dy
    return (-(a * sx + b * sy), -(b * sx + c * sy), -0.5 * sx * dx, -sx * dy, -0.5 * sy * dy, slope)


def alpha_slope(T: Values, value: Values, behind: Values, alpha: Values) -> Values:
    """Compute dS / d alpha of S = sum_i w_i s_i.

    Args:
        T: transmittance in front of the Gaussian.
        value: its s in this pixel.
        behind: S minus the sum up to and including the Gaussian.
        alpha: its alpha.
    """
    return T * value - behind / (1 - alpha)


def blend_step(splat: Splat, px: Values, py: Values, T: Values, out: tuple[Values, ...]) -> tuple[Values, tuple]:
    """Blend one Gaussian behind the earlier ones: compute the new transmittance and sums."""
    alpha, _ = alpha_of(splat.opacity, falloff(splat.mean2d, splat.conic, px, py)[2])
    weight = alpha * T
    return T - weight, tuple(o + weight * f for o, f in zip(out, splat.features, strict=True))


def pixel_value(features: tuple[Values, ...], v_out: tuple[Values, ...], v_alpha: Values) -> Values:
    """Compute the s of a Gaussian whose sum S = v_out . out + v_alpha alpha has these cotangents."""
    return sum((f * v for f, v in zip(features, v_out, strict=True)), v_alpha)


def inverse(x: Values) -> Values:
    """Compute 1 / x for x > 0 up to a few units in the last place: on a GPU, 1 / sqrt is faster than a division."""
    root = lax.rsqrt(x)
    return root * root


class PixelCotangents(NamedTuple):
    """Factors of the cotangents of one Gaussian in every pixel."""

    dx: Values  # mean - pixel, px
    dy: Values
    slope: Values  # cotangent of log(opacity), a factor of all others: dS / d alpha * d alpha / d log(opacity)
    weight: Values  # of the Gaussian in the pixel


def adjoint_step(
    splat: Splat, px: Values, py: Values, T: Values, behind: Values, v_out: tuple[Values, ...], v_alpha: Values
) -> tuple[Values, Values, PixelCotangents]:
    """Compute the new (T, behind) and the cotangents of one Gaussian.

    Args:
        splat: the Gaussian.
        px: x of the pixel centers, px.
        py: y of the pixel centers, px.
        T: transmittance in front of it.
        behind: S minus the sum in front of it, where S = v_out . out + v_alpha alpha of the whole pixel.
        v_out: cotangents of the features.
        v_alpha: cotangent of the accumulated alpha.
    """
    dx, dy, sigma = falloff(splat.mean2d, splat.conic, px, py)
    alpha, slope = alpha_of(splat.opacity, sigma)
    weight, value = alpha * T, pixel_value(splat.features, v_out, v_alpha)
    behind = behind - weight * value
    v_slope = slope * (T * value - behind * inverse(1 - alpha))  # see `alpha_slope`
    return T - weight, behind, PixelCotangents(dx, dy, v_slope, weight)


def cotangent_moments(cotangents: PixelCotangents) -> tuple[Values, ...]:
    """Compute slope * (1, dx, dy, dx^2, dx dy, dy^2) in every pixel: `from_moments` takes the sums."""
    dx, dy, slope, _ = cotangents
    x, y = slope * dx, slope * dy
    return slope, x, y, x * dx, x * dy, y * dy


def from_moments(sums: Float[Array, "N F"], conic: Float[Array, "N 3"]) -> Float[Array, "N F"]:
    """Convert the sums of `cotangent_moments` over all pixels to cotangents of (mean2d, conic, log opacity).

    Args:
        sums: six moments, then the cotangents of the features, which do not change.
        conic: of the Gaussians.
    """
    one, x, y, xx, xy, yy = sums[:, :FOOTPRINT_COLUMNS].T
    a, b, c = conic.T
    # A culled Gaussian has zero moments, but its conic may be NaN.
    mean = [jnp.where(jnp.isfinite(v), v, 0.0) for v in (-(a * x + b * y), -(b * x + c * y))]
    return jnp.concatenate([jnp.stack([*mean, -0.5 * xx, -xy, -0.5 * yy, one], -1), sums[:, FOOTPRINT_COLUMNS:]], -1)


def tangent_step(
    splat: Splat, tangent: Splat, px: Values, py: Values, T: Values, T_dot: Values, out_dot: tuple[Values, ...]
) -> tuple[Values, Values, tuple[Values, ...]]:
    """Compute the new (T, dT, d out) for the direction `tangent`, whose opacity is that of log(opacity)."""
    dx, dy, sigma = falloff(splat.mean2d, splat.conic, px, py)
    alpha, slope = alpha_of(splat.opacity, sigma)
    gradient = alpha_gradient(dx, dy, splat.conic, slope)
    direction = (*tangent.mean2d, *tangent.conic, tangent.opacity)
    alpha_dot = sum(g * d for g, d in zip(gradient, direction, strict=True))
    weight, weight_dot = alpha * T, alpha_dot * T + alpha * T_dot
    pairs = zip(out_dot, splat.features, tangent.features, strict=True)
    return T - weight, T_dot - weight_dot, tuple(o + weight_dot * f + weight * g for o, f, g in pairs)
