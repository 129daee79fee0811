"""Quadratic forms of v in the whitened frame of a footprint, where they are short and well conditioned.

With conic = U^T U (U upper triangular) and (s, t) = U (dx, dy), a blended pixel has s^2 + t^2 = 2 sigma < 12,
and with a 6 x 6 matrix G of the Gaussian alone

    v = slope * G (1, s, t, s^2, s t, t^2).

So v^T Q v = slope^2 * (a quartic in s and t: 15 coefficients instead of 21), and a weighted sum of v v^T over
pixels is G (15 moments) G^T. In raw pixel offsets these polynomials would cancel for long thin footprints.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from kernels.fisher.gain import pack, unpack

_BASIS = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))  # powers of (s, t) in the six monomials
POWERS = tuple((a, n - a) for n in range(5) for a in range(n, -1, -1))  # of the 15 monomials up to degree 4
_PRODUCT = np.array([[POWERS.index((a + c, b + d)) for c, d in _BASIS] for a, b in _BASIS])

Values = Float[Array, "..."]


def whitening(conic: Float[Array, "N 3"]) -> Float[Array, "N 3"]:
    """Return (u00, u01, u11) of the upper triangular U with U^T U = conic; the identity if there is none."""
    a, b, c = conic.T
    det_over_a = c - b * b / jnp.where(a > 0, a, 1.0)
    usable = (a > 0) & (det_over_a > 0)
    root = jnp.sqrt(jnp.where(usable, a, 1.0))
    return jnp.stack([root, jnp.where(usable, b, 0.0) / root, jnp.sqrt(jnp.where(usable, det_over_a, 1.0))], -1)


def _basis_change(whitener: Float[Array, "N 3"]) -> Float[Array, "N 6 6"]:
    """Return G: the rows of v / slope in the monomials (1, s, t, s^2, s t, t^2)."""
    u00, u01, u11 = whitener.T
    xs, xt, yt = 1 / u00, -u01 / (u00 * u11), 1 / u11  # dx = xs s + xt t, dy = yt t
    zero, one = jnp.zeros_like(u00), jnp.ones_like(u00)
    rows = [
        [zero, -u00, zero, zero, zero, zero],
        [zero, -u01, -u11, zero, zero, zero],
        [zero, zero, zero, -0.5 * xs * xs, -xs * xt, -0.5 * xt * xt],
        [zero, zero, zero, zero, -xs * yt, -xt * yt],
        [zero, zero, zero, zero, zero, -0.5 * yt * yt],
        [one, zero, zero, zero, zero, zero],
    ]
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def quartic_of(Q: Float[Array, "N 21"], whitener: Float[Array, "N 3"]) -> Float[Array, "N 15"]:
    """Return the coefficients of v^T Q v / slope^2 as a polynomial in (s, t), in the order of `POWERS`."""
    G = _basis_change(whitener)
    in_basis = jnp.einsum("nki,nkl,nlj->nij", G, unpack(Q, 6), G, precision="highest")
    gather = np.eye(len(POWERS), dtype=np.float32)[_PRODUCT]
    return jnp.einsum("nij,ijm->nm", in_basis, gather, precision="highest")


def quartic(k: list[Values], s: Values, t: Values) -> Values:
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
    """Return g s^a t^b in the order of `POWERS`."""
    terms = {(0, 0): g}
    for a, b in POWERS[1:]:
        terms[a, b] = terms[a - 1, b] * s if a else terms[a, b - 1] * t
    return [terms[p] for p in POWERS]


def from_moments(sums: Float[Array, "N 15"], whitener: Float[Array, "N 3"]) -> Float[Array, "N 21"]:
    """Return the packed sum of g v v^T / slope^2 from the summed `moments` of g."""
    G = _basis_change(whitener)
    return pack(jnp.einsum("nik,nkl,njl->nij", G, sums[:, _PRODUCT], G, precision="highest"))
