"""Move Gaussians by a similarity: positions, orientations, sizes, and the view dependence of their colors."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from ff_jax.render.gaussians import GaussianArrays
from kernels import SH_BAND, sh_basis

Array = np.ndarray


def moved(gaussians: GaussianArrays, matrix: Float[Array, "4 4"]) -> GaussianArrays:
    """Apply the similarity (s R, t) to Gaussians; the identity changes no bit."""
    if np.array_equal(matrix, np.eye(4)):
        return gaussians
    scale = np.cbrt(np.linalg.det(matrix[:3, :3]))
    rotation, sh = matrix[:3, :3] / scale, gaussians.sh.astype(np.float64)
    turns = sh_rotation(rotation, sh.shape[1])
    # scipy has the scalar part of a quaternion last. A canonical one is not negative, so the inverse brings back signs.
    turn = np.roll(Rotation.from_matrix(rotation).as_quat(canonical=True), 1)
    return GaussianArrays(
        means=_single(gaussians.means.astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]),
        quats=_single(quaternion_product(turn, gaussians.quats.astype(np.float64))),
        log_scales=_single(gaussians.log_scales.astype(np.float64) + np.log(scale)),
        logit_opacities=_single(gaussians.logit_opacities),
        sh=_single(np.einsum("jk,nkc->njc", turns, sh)),
    )


def quaternion_product(a: Float[Array, "4"], b: Float[Array, "N 4"]) -> Float[Array, "N 4"]:
    """Multiply quaternions (wxyz): the rotation b, then a; the lengths are multiplied."""
    w, x, y, z = a
    left = np.array([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]])
    return b @ left.T


def sh_rotation(rotation: Float[Array, "3 3"], coefficients: int) -> Float[Array, "K K"]:
    """Compute the matrix that turns coefficients of spherical harmonics: c'(d) = c(R^T d) for all directions d.

    Each band is closed under rotation, so its matrix is found exactly from as many directions as it has functions, or
    more: B(d) M = B(R^T d).

    Args:
        rotation: R.
        coefficients: 1, 4, 9 or 16.
    """
    directions = np.random.default_rng(0).normal(size=(64, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    result, bands = np.eye(coefficients), np.array(SH_BAND[:coefficients])
    there, here = basis(directions @ rotation), basis(directions)
    for band in range(1, bands.max(initial=0) + 1):
        rows = np.flatnonzero(bands == band)
        result[np.ix_(rows, rows)] = np.linalg.lstsq(here[:, rows], there[:, rows], rcond=None)[0]
    return result


def basis(directions: Float[Array, "N 3"]) -> Float[Array, "N 16"]:
    """Evaluate the functions of `kernels.sh_basis` in double precision."""
    with jax.enable_x64(True):
        return np.asarray(sh_basis(jnp.asarray(directions, jnp.float64)))


def _single(values: Float[Array, "..."]) -> Float[Array, "..."]:
    return values.astype(np.float32)
