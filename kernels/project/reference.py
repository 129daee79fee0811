"""EWA projection of 3D Gaussians (Zwicker et al. 2001; Kerbl et al. 2023), in plain jnp."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from kernels.project.sh import sh_color
from kernels.rasterize.blend import ALPHA_MIN

CLAMP_MARGIN = 0.3  # the Jacobian is evaluated at most this fraction of half the image outside of it (3DGS)
MAX_SIGMA = 1e8  # px; a larger footprint overflows float32 when its determinant is formed


class Projected(NamedTuple):
    """Gaussians on the image plane of one camera; a culled one has opacity 0 and extent 0."""

    mean2d: Float[Array, "N 2"]  # px
    conic: Float[Array, "N 3"]  # inverse 2-D covariance (a, b, c), 1/px^2
    opacity: Float[Array, "N"]  # [0, 1), antialias compensation applied
    depth: Float[Array, "N"]  # camera z, metres
    extent: Float[Array, "N 2"]  # px, half-size of the box outside which alpha < 1/255
    color: Float[Array, "N 3"]  # >= 0


def project(
    means: Float[Array, "N 3"],
    quats: Float[Array, "N 4"],
    scales: Float[Array, "N 3"],
    opacities: Float[Array, "N"],
    sh: Float[Array, "N K 3"],
    camera_from_world: Float[Array, "4 4"],
    K: Float[Array, "3 3"],
    *,
    width: int,
    height: int,
    sh_degree: int | Int[Array, ""] = 3,
    antialiased: bool = False,
    near: float = 0.2,
    eps2d: float = 0.3,
) -> Projected:
    """Project Gaussians; see `kernels.project.project` for the meaning of every argument."""
    # What is culled is replaced by harmless numbers before any arithmetic: `where` on results alone would
    # leave 0 * inf in their gradients.
    usable = _all_finite(means, quats, scales, opacities, sh) & (jnp.sum(quats * quats, -1) > 1e-24)
    means, scales, opacities = (
        _keep(usable, means, 0.0),
        _keep(usable, scales, 1.0),
        _keep(usable, opacities, 0.0),
    )
    quats, sh = _keep(usable, quats, 1.0), _keep(usable, sh, 0.0)

    rotation, translation = camera_from_world[:3, :3], camera_from_world[:3, 3]
    in_camera = means @ rotation.T + translation
    depth = in_camera[:, 2]
    reach = MAX_SIGMA / jnp.maximum(jnp.abs(K[0, 0]), jnp.abs(K[1, 1]))
    usable &= (depth > near) & (jnp.max(jnp.abs(scales), -1) < reach * depth) & (opacities > ALPHA_MIN)
    x, y, z = _keep(usable, in_camera, jnp.array([0.0, 0.0, 1.0])).T
    axes = rotation_of(quats) * _keep(usable, scales, 1.0)[:, None, :]

    row_x, row_y = _footprint(x, y, z, jnp.einsum("ij,njk->nik", rotation, axes), K, width, height)
    a, b, c = jnp.sum(row_x * row_x, -1), jnp.sum(row_x * row_y, -1), jnp.sum(row_y * row_y, -1)
    # det(J S J^T) as a squared cross product: a c - b^2 would cancel for long thin footprints.
    det_sharp = jnp.sum(jnp.cross(row_x, row_y) ** 2, -1)
    det = det_sharp + eps2d * (a + c) + eps2d * eps2d
    a, c = a + eps2d, c + eps2d
    if antialiased:
        opacities = opacities * _compensation(det_sharp / det)

    mean2d = jnp.stack([K[0, 0] * x / z + K[0, 1] * y / z + K[0, 2], K[1, 1] * y / z + K[1, 2]], -1)
    extent = _extent(opacities, a, c)
    usable &= jnp.all((mean2d + extent > 0.5) & (mean2d - extent < jnp.array([width, height]) - 0.5), -1)
    usable &= jnp.isfinite(det) & (opacities > ALPHA_MIN)
    directions = view_directions(means, camera_from_world)
    return Projected(
        mean2d=mean2d,
        conic=jnp.stack([c / det, -b / det, a / det], -1),
        opacity=jnp.where(usable, opacities, 0.0),
        depth=depth,
        extent=jnp.where(usable[:, None], extent, 0.0),
        color=sh_color(sh, directions, sh_degree),
    )


def rotation_of(quats: Float[Array, "*n 4"]) -> Float[Array, "*n 3 3"]:
    """Return the rotation matrices of wxyz quaternions of any positive length."""
    w, x, y, z = jnp.moveaxis(quats * lax.rsqrt(jnp.sum(quats * quats, -1, keepdims=True)), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def view_directions(
    means: Float[Array, "N 3"], camera_from_world: Float[Array, "4 4"]
) -> Float[Array, "N 3"]:
    """Return unit vectors from the camera centre to `means`, constant under differentiation."""
    rotation, translation = camera_from_world[:3, :3], camera_from_world[:3, 3]
    offset = lax.stop_gradient(means + rotation.T @ translation)
    return offset * lax.rsqrt(jnp.maximum(jnp.sum(offset * offset, -1, keepdims=True), 1e-24))


def _all_finite(*arrays: Float[Array, "N ..."]) -> Bool[Array, "N"]:
    """Return which Gaussians have only finite numbers (a sum is finite only if its terms are)."""
    totals = [jnp.sum(lax.stop_gradient(a), axis=tuple(range(1, a.ndim))) for a in arrays]
    return jnp.isfinite(sum(totals))


def _keep(
    usable: Bool[Array, "N"], values: Float[Array, "N ..."], otherwise: float | Array
) -> Float[Array, "N ..."]:
    """Replace the rows of `values` that are not usable."""
    return jnp.where(usable.reshape(-1, *[1] * (values.ndim - 1)), values, otherwise)


def _footprint(
    x: Float[Array, "N"],
    y: Float[Array, "N"],
    z: Float[Array, "N"],
    axes: Float[Array, "N 3 3"],
    K: Float[Array, "3 3"],
    width: int,
    height: int,
) -> tuple[Float[Array, "N 3"], Float[Array, "N 3"]]:
    """Return the two rows (N, 3) of J R M: the image-plane images of the Gaussian's three axes, px."""
    fx, fy, cx, cy, skew = K[0, 0], K[1, 1], K[0, 2], K[1, 2], K[0, 1]
    margin_x, margin_y = CLAMP_MARGIN * 0.5 * width / fx, CLAMP_MARGIN * 0.5 * height / fy
    u = jnp.clip(x / z, -cx / fx - margin_x, (width - cx) / fx + margin_x)
    v = jnp.clip(y / z, -cy / fy - margin_y, (height - cy) / fy + margin_y)
    per_z = (1 / z)[:, None]
    along_x = (axes[:, 0] - u[:, None] * axes[:, 2]) * per_z
    along_y = (axes[:, 1] - v[:, None] * axes[:, 2]) * per_z
    return fx * along_x + skew * along_y, fy * along_y


def _compensation(ratio: Float[Array, "N"]) -> Float[Array, "N"]:
    """Return sqrt(ratio) of the areas before and after the dilation (Yu et al. 2024, Mip-Splatting, eq. 9).

    Below 1e-6 the result is under ALPHA_MIN and the Gaussian is culled; the bound keeps the root's slope
    finite.
    """
    return jnp.sqrt(jnp.maximum(ratio, 1e-6))


def _extent(opacity: Float[Array, "N"], a: Float[Array, "N"], c: Float[Array, "N"]) -> Float[Array, "N 2"]:
    """Return the half-size, px, of the box around the ellipse alpha = ALPHA_MIN of covariance (a, ., c)."""
    opacity, a, c = jax.tree.map(lax.stop_gradient, (opacity, a, c))
    twice_level = 2 * jnp.log(jnp.maximum(opacity / ALPHA_MIN, 1.0))
    return jnp.sqrt(twice_level[:, None] * jnp.stack([a, c], -1))
