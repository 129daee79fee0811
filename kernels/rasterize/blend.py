"""The arithmetic of one (Gaussian, pixel) pair, shared by every walk over a tile list.

A tile list holds the Gaussians that can touch a tile, front to back. A walk visits them in that order and
carries, per pixel, the transmittance T (1 at the start) and sums:

    dx, dy, sigma = falloff(mean2d, conic, px, py)
    alpha, slope = alpha_of(opacity, sigma)
    weight = alpha * T;  sums += weight * features;  T -= weight

It may stop once T < T_STOP in every pixel. The adjoint, Fisher and EIG walks visit the list in the same order:
with S the sum over the whole list of weight * s (s: anything a Gaussian shows in this pixel), the derivative of S
with respect to alpha is T s - (S - sum up to and including this Gaussian) / (1 - alpha), so the rendered image is
the only residual they need.

Arguments are scalars of one Gaussian or arrays of them that broadcast against the pixel coordinates; nothing here
indexes, so that the same functions run in jnp code and inside Pallas kernel bodies.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

ALPHA_MIN = 1 / 255  # fainter contributions cannot change an 8-bit image (Kerbl et al. 2023)
ALPHA_MAX = 0.999  # keeps 1 / (1 - alpha) finite
T_STOP = 1e-4  # what lies behind this transmittance is not worth a walk

Values = Float[Array, "..."]


def falloff(
    mean2d: tuple[Values, Values], conic: tuple[Values, Values, Values], px: Values, py: Values
) -> tuple[Values, Values, Values]:
    """Return the offset (dx, dy) = mean - pixel in px and the exponent sigma = (a dx^2 + c dy^2) / 2 + b dx dy."""
    a, b, c = conic
    dx, dy = mean2d[0] - px, mean2d[1] - py
    return dx, dy, 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy


def alpha_of(opacity: Values, sigma: Values) -> tuple[Values, Values]:
    """Return alpha = min(ALPHA_MAX, opacity exp(-sigma)), 0 below ALPHA_MIN, and its slope.

    The slope is d alpha / d log(opacity) = - d alpha / d sigma: 0 where alpha is cut or capped.
    A NaN becomes 0 in both.
    """
    raw = opacity * jnp.exp(-sigma)
    alpha = jnp.where(raw >= ALPHA_MIN, jnp.minimum(raw, ALPHA_MAX), 0.0)
    slope = jnp.where((raw >= ALPHA_MIN) & (raw < ALPHA_MAX), raw, 0.0)
    return alpha, slope


def alpha_gradient(
    dx: Values, dy: Values, conic: tuple[Values, Values, Values], slope: Values
) -> tuple[Values, Values, Values, Values, Values, Values]:
    """Return d alpha / d (mean x, mean y, conic a, b, c, log opacity)."""
    a, b, c = conic
    sx, sy = slope * dx, slope * dy
    return (
        -(a * sx + b * sy),
        -(b * sx + c * sy),
        -0.5 * sx * dx,
        -sx * dy,
        -0.5 * sy * dy,
        slope,
    )


def alpha_slope(T: Values, shown: Values, behind: Values, alpha: Values) -> Values:
    """Return dS / d alpha of S = sum_i w_i s_i.

    Args:
        T: transmittance in front of the Gaussian.
        shown: its s in this pixel.
        behind: what S still receives from behind it (S minus the sum up to and including it).
        alpha: its alpha.
    """
    return T * shown - behind / (1 - alpha)
