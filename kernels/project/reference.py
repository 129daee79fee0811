"""EWA projection of 3D Gaussians (Zwicker et al. 2001; Kerbl et al. 2023), in plain jnp."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from kernels.common.constants import ALPHA_MIN
from kernels.project.spherical_harmonics import sh_color
from kernels.project.types import (
    CameraMatrices,
    Gaussians3D,
    Lens,
    Projected,
    ProjectedColumns,
    ProjectionOptions,
    Values,
    lens_of,
)

CLAMP_MARGIN = 0.3  # the Jacobian is evaluated at most this fraction of half the image outside of it (3DGS)
MAX_SIGMA = 1e8  # px; a larger footprint overflows float32 when its determinant is formed
MIN_COMPENSATION = 1e-6  # of the squared compensation of opacity; see `_compensation`


def project(
    gaussians: Gaussians3D,
    camera: CameraMatrices,
    sh_degree: int | Int[Array, ""],
    options: ProjectionOptions,
    run: Callable[..., ProjectedColumns] | None = None,
) -> Projected:
    """Project Gaussians; see `kernels.project.project` for every argument.

    `run` evaluates `project_columns`; None calls it once for all Gaussians.
    """
    usable, (means, quats, scales, opacities, sh) = keep_finite(gaussians)
    camera_from_world, K = camera
    # One matrix product, then column by column: more products would each be a pass over memory of their own;
    # without this one XLA evaluates the whole backward pass once per column of the means.
    rotation, translation = camera_from_world[:3, :3], camera_from_world[:3, 3]
    in_camera = (jnp.matmul(means, rotation.T, precision="highest") + translation).T
    lens = lens_of(rotation, K)
    out = (run or project_columns)(usable, in_camera, quats.T, scales.T, opacities, lens, options)
    color = sh_color(sh, view_directions(means, camera_from_world), sh_degree)
    return Projected(
        jnp.stack(out.mean2d, -1), jnp.stack(out.conic, -1), out.opacity, out.depth, jnp.stack(out.extent, -1), color
    )


def keep_finite(gaussians: Gaussians3D) -> tuple[Bool[Array, "N"], Gaussians3D]:
    """Find the Gaussians with finite parameters and a quaternion that is not 0, and give the others harmless numbers.

    This comes before any arithmetic: `where` on results alone would leave 0 * inf in gradients. Scales do not change.
    """
    means, quats, scales, opacities, sh = gaussians
    usable = _all_finite(means, quats, scales, opacities, sh) & (jnp.sum(quats * quats, -1) > 1e-24)
    means, opacities = _keep(usable, means, 0.0), _keep(usable, opacities, 0.0)
    quats, sh = _keep(usable, quats, 1.0), _keep(usable, sh, 0.0)
    return usable, Gaussians3D(means, quats, scales, opacities, sh)


def project_columns(
    usable: Any, in_camera: Any, quats: Any, scales: Any, opacities: Any, lens: Lens, options: ProjectionOptions
) -> ProjectedColumns:
    """Project Gaussians whose parameters come column by column.

    Nothing here indexes or stacks: the same arithmetic runs in jnp code and inside Pallas kernel bodies.

    Args:
        usable: whether the parameters of a Gaussian are finite and its quaternion is not 0.
        in_camera: x, y, z of the means in the camera, meters.
        quats: w, x, y, z.
        scales: three, meters.
        opacities: [0, 1).
        lens: of the camera.
        options: static options.
    """
    x, y, depth = in_camera
    reach = MAX_SIGMA / jnp.maximum(jnp.abs(lens.fx), jnp.abs(lens.fy))
    largest = _largest(*[jnp.abs(s) for s in scales])
    usable = usable & (depth > options.near) & (largest < reach * depth) & (opacities > ALPHA_MIN)
    x, y, z = _keep(usable, x, 0.0), _keep(usable, y, 0.0), _keep(usable, depth, 1.0)
    scales = [_keep(usable, s, 1.0) for s in scales]

    row_x, row_y = _footprint(x / z, y / z, 1 / z, quats, scales, lens, options)
    mean2d = (lens.fx * x + lens.skew * y) / z + lens.cx, lens.fy * y / z + lens.cy
    return splat_columns(usable, mean2d, (row_x, row_y), opacities, depth, options)


def splat_columns(
    usable: Any,
    mean2d: tuple[Values, Values],
    rows: tuple[Sequence[Values], Sequence[Values]],
    opacities: Any,
    depth: Any,
    options: ProjectionOptions,
) -> ProjectedColumns:
    """Dilate footprints, and cull what does not touch the image; column by column.

    Args:
        usable: the others are culled; their numbers are finite.
        mean2d: x, y of the centers, px.
        rows: x and y of an odd number of vectors whose outer products add up to the covariance, px.
        opacities: [0, 1).
        depth: to store.
        options: static options.
    """
    row_x, row_y = rows
    a, b, c = _dot(row_x, row_x), _dot(row_x, row_y), _dot(row_y, row_y)
    # The determinant as a sum of squared cross products: a c - b^2 would cancel for long thin footprints.
    count = len(row_x)
    pairs = [(i, (i + step) % count) for step in range(1, count // 2 + 1) for i in range(count)]
    cross = [row_x[i] * row_y[j] - row_x[j] * row_y[i] for i, j in pairs]
    det_sharp, eps2d = _dot(cross, cross), options.eps2d
    det = det_sharp + eps2d * (a + c) + eps2d * eps2d
    a, c = a + eps2d, c + eps2d
    if options.antialiased:
        opacities = opacities * _compensation(det_sharp / det)

    extent = _extent(opacities, a, c)
    for mean, half, size in zip(mean2d, extent, (options.width, options.height), strict=True):
        usable = usable & (mean + half > 0.5) & (mean - half < size - 0.5)
    usable = usable & (jnp.abs(det) < jnp.inf) & (opacities > ALPHA_MIN)
    half_x, half_y = extent
    return ProjectedColumns(
        mean2d=mean2d,
        conic=(c / det, -b / det, a / det),
        opacity=jnp.where(usable, opacities, 0.0),
        depth=depth,
        extent=(jnp.where(usable, half_x, 0.0), jnp.where(usable, half_y, 0.0)),
    )


def _largest(first: Any, *rest: Any) -> Any:
    """Compute the elementwise maximum of some columns."""
    for other in rest:
        first = jnp.maximum(first, other)
    return first


def _dot(a: Any, b: Any) -> Array:
    """Compute the dot product of two lists of scalars or columns."""
    return functools.reduce(operator.add, [x * y for x, y in zip(a, b, strict=True)])


def rotation_rows(quats: Any) -> list[list[Values]]:
    """Convert quaternion columns w, x, y, z of any positive length to rotation matrices, entry by entry."""
    w, x, y, z = quats
    per_length = lax.rsqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w * per_length, x * per_length, y * per_length, z * per_length
    return [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]


def view_directions(means: Float[Array, "N 3"], camera_from_world: Float[Array, "4 4"]) -> Float[Array, "N 3"]:
    """Compute unit vectors from the camera center to `means`, constant under differentiation."""
    rotation, translation = camera_from_world[:3, :3], camera_from_world[:3, 3]
    offset = lax.stop_gradient(means + jnp.matmul(rotation.T, translation, precision="highest"))
    return offset * lax.rsqrt(jnp.maximum(jnp.sum(offset * offset, -1, keepdims=True), 1e-24))


def _all_finite(*arrays: Float[Array, "N ..."]) -> Bool[Array, "N"]:
    """Test which Gaussians have only finite numbers (a sum is finite only if its terms are)."""
    totals = [jnp.sum(lax.stop_gradient(a), axis=tuple(range(1, a.ndim))) for a in arrays]
    return jnp.isfinite(sum(totals))


def _keep(usable: Bool[Array, "N"], values: Float[Array, "N ..."], fallback: float) -> Float[Array, "N ..."]:
    """Replace the rows of `values` that are not usable."""
    return jnp.where(usable.reshape(-1, *[1] * (values.ndim - 1)), values, fallback)


def _footprint(
    u: Values, v: Values, per_z: Values, quats: Any, scales: Any, lens: Lens, options: ProjectionOptions
) -> tuple[list[Values], list[Values]]:
    """Compute both rows of J R M, px: the images of a Gaussian's three axes (columns of M) under the Jacobian.

    J is that of the projection at (u, v, 1) / per_z, with (u, v) clamped to a little more than the image.
    """
    fx, fy, rotation = lens.fx, lens.fy, lens.rotation
    u, v = clamp_directions(u, v, lens, options)
    along_x = [(rotation[0][j] - u * rotation[2][j]) * per_z for j in range(3)]
    along_y = [(rotation[1][j] - v * rotation[2][j]) * per_z for j in range(3)]
    along_x = [fx * p + lens.skew * q for p, q in zip(along_x, along_y, strict=True)]
    rows = rotation_rows(quats)
    axes = [[row[k] * scales[k] for row in rows] for k in range(3)]
    return [_dot(along_x, axis) for axis in axes], [fy * _dot(along_y, axis) for axis in axes]


def clamp_directions(u: Values, v: Values, lens: Lens, options: ProjectionOptions) -> tuple[Values, Values]:
    """Clamp the directions (u, v) = (x, y) / z to a little more than the image."""
    fx, fy, cx, cy = lens.fx, lens.fy, lens.cx, lens.cy
    margin_x, margin_y = CLAMP_MARGIN * 0.5 * options.width / fx, CLAMP_MARGIN * 0.5 * options.height / fy
    u = _clamp(u, -cx / fx - margin_x, (options.width - cx) / fx + margin_x)
    return u, _clamp(v, -cy / fy - margin_y, (options.height - cy) / fy + margin_y)


def _clamp(x: Values, low: Values, high: Values) -> Values:
    """Clamp x to [low, high]."""
    return jnp.minimum(jnp.maximum(x, low), high)


def _compensation(ratio: Values) -> Values:
    """Compute sqrt(ratio) of the areas before and after the dilation (Yu et al. 2024, Mip-Splatting, eq. 9).

    Below MIN_COMPENSATION the result is under ALPHA_MIN and the Gaussian is culled; the bound keeps the root's slope
    finite.
    """
    return jnp.sqrt(jnp.maximum(ratio, MIN_COMPENSATION))


def _extent(opacity: Values, a: Values, c: Values) -> tuple[Values, Values]:
    """Compute the half-size, px, of the box around the ellipse alpha = ALPHA_MIN of covariance (a, ., c)."""
    opacity, a, c = jax.tree.map(lax.stop_gradient, (opacity, a, c))
    twice_level = 2 * jnp.log(jnp.maximum(opacity / ALPHA_MIN, 1.0))
    return jnp.sqrt(twice_level * a), jnp.sqrt(twice_level * c)
