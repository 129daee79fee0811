"""Quadratic forms of v in the whitened frame of a footprint, which is well conditioned.

With conic = U^T U (U lower triangular) and (s, t) = U (dx, dy), a blended pixel has s^2 + t^2 = 2 sigma < 12,
and with a 6 x 6 matrix G of the Gaussian alone

    v = slope * G (1, s, t, s^2, s t, t^2).

So |v^T F|^2 = slope^2 * (a quartic in s and t: 15 coefficients), and a weighted sum of v v^T over pixels is
G (15 moments) G^T. In raw pixel offsets these polynomials would cancel for long thin footprints, and so do
products with G: its entries reach the squared length of the footprint in pixels. Factors of v are therefore
transformed to this frame before they are squared, never as a 6 x 6 matrix of squares.

U is lower triangular so that s depends on dx alone and is the same in a column of pixels.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from kernels.common.symmetric import pack_symmetric
from kernels.project.types import Values

_BASIS = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))  # powers of (s, t) in the six monomials
POWERS = tuple((a, n - a) for n in range(5) for a in range(n, -1, -1))  # of the 15 monomials up to degree 4
# Number of the monomial that is the product of two of the basis.
PRODUCT = np.array([[POWERS.index((a + c, b + d)) for c, d in _BASIS] for a, b in _BASIS])


def whitening(conic: Float[Array, "N 3"]) -> Float[Array, "N 3"]:
    """Compute (u00, u10, u11) of the lower triangular U with U^T U = conic; the identity if there is none."""
    return jnp.stack(whitening_columns(*conic.T), -1)


def whitening_columns(a: Values, b: Values, c: Values) -> list[Values]:
    """Compute u00, u10, u11 of `whitening` from the columns of a conic."""
    det_over_c = a - b * b / jnp.where(c > 0, c, 1.0)
    usable = (c > 0) & (det_over_c > 0)
    root = jnp.sqrt(jnp.where(usable, c, 1.0))
    return [jnp.sqrt(jnp.where(usable, det_over_c, 1.0)), jnp.where(usable, b, 0.0) / root, root]


def to_basis(v: list[Values], whitener: list[Values]) -> list[Values]:
    """Compute G^T v for six columns v, where v / slope = G (1, s, t, s^2, s t, t^2)."""
    u00, u10, u11 = whitener
    xs, ys, yt = 1 / u00, -u10 / (u00 * u11), 1 / u11  # dx = xs s, dy = ys s + yt t
    return [
        v[5],
        -u00 * v[0],
        -u10 * v[0] - u11 * v[1],
        -0.5 * xs * xs * v[2] - xs * ys * v[3] - 0.5 * ys * ys * v[4],
        -yt * (xs * v[3] + ys * v[4]),
        -0.5 * yt * yt * v[4],
    ]


def _in_basis(factor: Float[Array, "N 6 r"], whitener: Float[Array, "N 3"]) -> Float[Array, "N 6 r"]:
    """Compute G^T factor."""
    return jnp.stack(to_basis([factor[:, k] for k in range(6)], [u[:, None] for u in whitener.T]), 1)


def quartic_coefficients(factor: Float[Array, "N 6 r"], whitener: Float[Array, "N 3"]) -> Float[Array, "N 15"]:
    """Compute the coefficients of |v^T factor|^2 / slope^2 as a polynomial in (s, t), in the order of `POWERS`."""
    in_basis = _in_basis(factor, whitener)
    squares = jnp.einsum("nir,njr->nij", in_basis, in_basis, precision="highest")
    gather = np.eye(len(POWERS), dtype=np.float32)[PRODUCT]
    return jnp.einsum("nij,ijm->nm", squares, gather, precision="highest")


def evaluate_quartic(k: list[Values], s: Values, t: Values) -> Values:
    """Evaluate a polynomial with coefficients `k` (order of `POWERS`) at (s, t)."""
    in_s = [_horner([k[POWERS.index((a, b))] for a in range(5 - b)], s) for b in range(5)]
    return _horner(in_s, t)


def _horner(coefficients: list[Values], x: Values) -> Values:
    """Evaluate sum_i coefficients[i] x^i."""
    value = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value


def moments(g: Values, s: Values, t: Values) -> list[Values]:
    """Compute g s^a t^b in the order of `POWERS`."""
    terms = {(0, 0): g}
    for a, b in POWERS[1:]:
        terms[a, b] = terms[a - 1, b] * s if a else terms[a, b - 1] * t
    return [terms[p] for p in POWERS]


def from_moments(
    sums: Float[Array, "N 15"], whitener: Float[Array, "N 3"], jacobian: Float[Array, "N 6 p"] | None
) -> Float[Array, "N packed"]:
    """Compute the packed sum of g (v^T jacobian)^T (v^T jacobian) / slope^2 from the summed `moments` of g."""
    if jacobian is None:
        jacobian = jnp.broadcast_to(jnp.eye(6), (sums.shape[0], 6, 6))
    in_basis = _in_basis(jacobian, whitener)
    return pack_symmetric(jnp.einsum("nip,nij,njq->npq", in_basis, sums[:, PRODUCT], in_basis, precision="highest"))
