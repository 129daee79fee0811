"""One step of the Fisher and EIG walks, shared by the XLA and the Pallas form.

A record is the row of numbers of one Gaussian: `splat_records`, then for the map what `eig_records` appends.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kernels.fisher.quadratic_forms import moments, quartic, quartic_of, whitening
from kernels.rasterize.alpha_blending import alpha_of, falloff, inverse
from kernels.rasterize.tile_walk import to_tiles

SPLAT = 12  # mean2d 2, conic 3, opacity, color 3, whitener 3
EIG = SPLAT + 16  # + quartic 15, q
SUMS = 16  # moments 15, w^2

Values = Float[Array, "..."]


class Front(NamedTuple):
    """What a pixel remembers of the Gaussians already visited."""

    T: Values  # transmittance
    r: Values  # colour that is still to come from behind
    g: Values
    b: Values


class Pair(NamedTuple):
    """A Gaussian in a pixel."""

    s: Values  # whitened offset; it depends on px alone
    t: Values
    slope: Values  # d alpha / d log opacity
    w: Values
    a: tuple[Values, Values, Values]  # d colour / d alpha


def splat_records(
    mean2d: Float[Array, "N 2"],
    conic: Float[Array, "N 3"],
    opacity: Float[Array, "N"],
    color: Float[Array, "N 3"],
) -> Float[Array, "N 12"]:
    """Return one row per Gaussian; all zero for a culled one, whose numbers may be anything."""
    rows = jnp.concatenate([mean2d, conic, opacity[:, None], color, whitening(conic)], -1)
    return jnp.where(opacity[:, None] > 0, rows, 0.0)


def whitener_of(splats: Float[Array, "N 12"]) -> Float[Array, "N 3"]:
    """Return the whitener in every row, the identity for a culled Gaussian."""
    return jnp.where(splats[:, 5:6] > 0, splats[:, 9:12], jnp.array([1.0, 0.0, 1.0]))


def eig_records(
    splats: Float[Array, "N 12"], factor: Float[Array, "N 6 r"], q: Float[Array, "N"]
) -> Float[Array, "N 28"]:
    """Append the quartic of `factor` and the colour variance to every row."""
    factor = jnp.where(splats[:, 5:6, None] > 0, factor, 0.0)
    return append_eig(splats, quartic_of(factor, whitener_of(splats)), q)


def append_eig(
    splats: Float[Array, "N 12"], coefficients: Float[Array, "N 15"], q: Float[Array, "N"]
) -> Float[Array, "N 28"]:
    """Append a quartic and the colour variance to every row."""
    return jnp.concatenate([splats, coefficients, jnp.where(splats[:, 5] > 0, q, 0.0)[:, None]], -1)


def start(image: Float[Array, "H W 3"], tile: int) -> Float[Array, "tiles 4 P"]:
    """Return the `Front` of every tile before the first Gaussian; pixels off the image start at T = 0."""
    return to_tiles(jnp.concatenate([jnp.ones_like(image[..., :1]), image], -1), tile)


def visit(record: list[Values], px: Values, py: Values, front: Front) -> tuple[Pair, Front]:
    """Blend one Gaussian into the pixels (px, py)."""
    dx, dy, sigma = falloff((record[0], record[1]), (record[2], record[3], record[4]), px, py)
    alpha, slope = alpha_of(record[5], sigma)
    w, color = alpha * front.T, record[6:9]
    behind = [x - w * c for x, c in zip(front[1:], color, strict=True)]
    share = inverse(1 - alpha)  # see `alpha_slope`
    a = tuple(front.T * c - share * x for c, x in zip(color, behind, strict=True))
    pair = Pair(record[9] * dx, record[10] * dx + record[11] * dy, slope, w, a)
    return pair, Front(front.T - w, *behind)


def fisher_parts(pair: Pair, weight: Values) -> list[Values]:
    """Return the SUMS numbers per pixel whose sums `from_moments` turns into S, and w2."""
    return [*moments(information(pair, weight), pair.s, pair.t), weight * pair.w * pair.w]


def information(pair: Pair, weight: Values) -> Values:
    """Return what a pixel tells, before it is divided among the six numbers of a footprint: weight |a|^2 slope^2."""
    r, g, b = pair.a
    return weight * (r * r + g * g + b * b) * pair.slope * pair.slope


def add_gain(record: list[Values], pair: Pair, M: list[Values]) -> list[Values]:
    """Add |v^T factor|^2 a a^T + w^2 q I to the packed 3x3 matrix `M`."""
    # A square: below 0 only by the rounding of the polynomial.
    spread = pair.slope * pair.slope * jnp.maximum(quartic(record[SPLAT : SPLAT + 15], pair.s, pair.t), 0.0)
    of_color = pair.w * pair.w * record[SPLAT + 15]
    r, g, b = pair.a
    sr, sg = spread * r, spread * g
    terms = [sr * r + of_color, sr * g, sr * b, sg * g + of_color, sg * b, spread * b * b + of_color]
    return [m + term for m, term in zip(M, terms, strict=True)]
