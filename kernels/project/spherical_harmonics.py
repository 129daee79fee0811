"""Real spherical harmonics up to degree 3 (Sloan 2013, Efficient Spherical Harmonic Evaluation, app. A)."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

MAX_DEGREE = 3
SH_BAND = (0, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3)  # of every basis function


def sh_basis(directions: Float[Array, "*n 3"], coefficients: int = 16) -> Float[Array, "*n K"]:
    """Evaluate the first `coefficients` (1, 4, 9 or 16) basis functions in unit `directions`.

    Order and signs are those of the 3D Gaussian Splatting files (Condon-Shortley phase included).

    Raises:
        ValueError: if `coefficients` is not the square of degree + 1.
    """
    if coefficients not in (1, 4, 9, 16):
        raise ValueError(f"invalid {coefficients=}: expected (degree + 1)^2 with a degree from 0 to {MAX_DEGREE}")
    return jnp.stack(basis_columns(directions[..., 0], directions[..., 1], directions[..., 2], coefficients), -1)


def basis_columns(
    x: Float[Array, "*n"], y: Float[Array, "*n"], z: Float[Array, "*n"], coefficients: int
) -> list[Float[Array, "*n"]]:
    """Evaluate the basis functions of `sh_basis` as separate columns."""
    xx, yy, zz = x * x, y * y, z * z
    functions = [
        lambda: jnp.full_like(x, 0.28209479177387814),
        lambda: -0.4886025119029199 * y,
        lambda: 0.4886025119029199 * z,
        lambda: -0.4886025119029199 * x,
        lambda: 1.0925484305920792 * x * y,
        lambda: -1.0925484305920792 * y * z,
        lambda: 0.31539156525252005 * (2 * zz - xx - yy),
        lambda: -1.0925484305920792 * x * z,
        lambda: 0.5462742152960396 * (xx - yy),
        lambda: -0.5900435899266435 * y * (3 * xx - yy),
        lambda: 2.890611442640554 * x * y * z,
        lambda: -0.4570457994644658 * y * (4 * zz - xx - yy),
        lambda: 0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
        lambda: -0.4570457994644658 * x * (4 * zz - xx - yy),
        lambda: 1.445305721320277 * z * (xx - yy),
        lambda: -0.5900435899266435 * x * (xx - 3 * yy),
    ]
    return [function() for function in functions[:coefficients]]


def sh_color(
    sh: Float[Array, "N K 3"], directions: Float[Array, "N 3"], degree: int | Int[Array, ""]
) -> Float[Array, "N 3"]:
    """Evaluate max(0, sum of the bands up to `degree` + 1/2); bands above `degree` count as 0."""
    basis = sh_basis(directions, sh.shape[1])
    mask = jnp.array(SH_BAND[: sh.shape[1]]) <= degree
    return jnp.maximum(jnp.sum((basis * mask)[..., None] * sh, 1) + 0.5, 0.0)
