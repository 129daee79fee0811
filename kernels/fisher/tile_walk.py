"""One step of the Fisher and EIG walks, shared by the XLA and the Pallas form.

A record is the row of numbers of one Gaussian: `splat_records`, for the map extended by `eig_records`.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kernels.bin_tiles.types import TileGrid
from kernels.fisher.quadratic_forms import evaluate_quartic, moments, quartic_coefficients, whitening
from kernels.project.types import Projected, Values
from kernels.rasterize.alpha_blending import alpha_of, falloff, inverse
from kernels.rasterize.tile_walk import to_tiles

NUM_SPLAT = 12  # mean2d 2, conic 3, opacity, color 3, whitener 3; the map appends a quartic 15 and the color variance
NUM_SUMS = 16  # moments 15, w^2


class PixelState(NamedTuple):
    """State of a pixel in front of the next Gaussian."""

    T: Values  # transmittance
    r: Values  # color that the Gaussians behind will add
    g: Values
    b: Values


class Pair(NamedTuple):
    """A Gaussian in a pixel."""

    s: Values  # whitened offset; it depends on px alone
    t: Values
    slope: Values  # d alpha / d log opacity
    w: Values
    a: tuple[Values, Values, Values]  # d color / d alpha


def splat_records(projected: Projected, features: Float[Array, "N C"]) -> Float[Array, "N 12"]:
    """Concatenate one row per Gaussian; all zero for a culled one, whose numbers may be NaN."""
    mean2d, conic, opacity, *_ = projected
    rows = jnp.concatenate([mean2d, conic, opacity[:, None], features[:, :3], whitening(conic)], -1)
    return jnp.where(opacity[:, None] > 0, rows, 0.0)


def whitener_of(splats: Float[Array, "N 12"]) -> Float[Array, "N 3"]:
    """Extract the whitener of every row, the identity for a culled Gaussian."""
    return jnp.where(splats[:, 5:6] > 0, splats[:, 9:12], jnp.array([1.0, 0.0, 1.0]))


def eig_records(
    splats: Float[Array, "N 12"], factor: Float[Array, "N 6 r"], color_var: Float[Array, "N"]
) -> Float[Array, "N 28"]:
    """Append the quartic of `factor` and the color variance to every row."""
    factor = jnp.where(splats[:, 5:6, None] > 0, factor, 0.0)
    return append_eig(splats, quartic_coefficients(factor, whitener_of(splats)), color_var)


def append_eig(
    splats: Float[Array, "N 12"], coefficients: Float[Array, "N 15"], color_var: Float[Array, "N"]
) -> Float[Array, "N 28"]:
    """Append a quartic and the color variance to every row."""
    return jnp.concatenate([splats, coefficients, jnp.where(splats[:, 5] > 0, color_var, 0.0)[:, None]], -1)


def initial_state(image: Float[Array, "H W 3"], grid: TileGrid) -> Float[Array, "tiles 4 P"]:
    """Compute the `PixelState` in front of the first Gaussian, by tile; pixels off the image start at T = 0."""
    return to_tiles(jnp.concatenate([jnp.ones_like(image[..., :1]), image], -1), grid)


def blend_pair(record: list[Values], px: Values, py: Values, state: PixelState) -> tuple[Pair, PixelState]:
    """Blend one Gaussian into the pixels (px, py)."""
    dx, dy, sigma = falloff((record[0], record[1]), (record[2], record[3], record[4]), px, py)
    alpha, slope = alpha_of(record[5], sigma)
    w, color = alpha * state.T, record[6:9]
    r, g, b = (x - w * c for x, c in zip(state[1:], color, strict=True))
    share = inverse(1 - alpha)  # see `alpha_slope`
    a_r, a_g, a_b = (state.T * c - share * x for c, x in zip(color, (r, g, b), strict=True))
    pair = Pair(record[9] * dx, record[10] * dx + record[11] * dy, slope, w, (a_r, a_g, a_b))
    return pair, PixelState(state.T - w, r, g, b)


def fisher_terms(pair: Pair, weight: Values) -> list[Values]:
    """Compute NUM_SUMS numbers per pixel, from whose sums `from_moments` computes S; the last one is that of w2."""
    return [*moments(pair_information(pair, weight), pair.s, pair.t), weight * pair.w * pair.w]


def pair_information(pair: Pair, weight: Values) -> Values:
    """Compute weight |a|^2 slope^2, the factor that all entries of S share in a pixel."""
    r, g, b = pair.a
    return weight * (r * r + g * g + b * b) * pair.slope * pair.slope


def add_color_covariance(record: list[Values], pair: Pair, M: list[Values]) -> list[Values]:
    """Add |v^T factor|^2 a a^T + w^2 color_var I to the packed 3x3 matrix `M`."""
    # A square: only rounding of the polynomial can make it negative.
    coefficients = record[NUM_SPLAT : NUM_SPLAT + 15]
    spread = pair.slope * pair.slope * jnp.maximum(evaluate_quartic(coefficients, pair.s, pair.t), 0.0)
    of_color = pair.w * pair.w * record[NUM_SPLAT + 15]
    r, g, b = pair.a
    sr, sg = spread * r, spread * g
    terms = [sr * r + of_color, sr * g, sr * b, sg * g + of_color, sg * b, spread * b * b + of_color]
    return [m + term for m, term in zip(M, terms, strict=True)]
