"""EWA projection of 3D Gaussians (Zwicker et al. 2001; Kerbl et al. 2023), in plain jnp."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from kernels.project.spherical_harmonics import sh_color
from kernels.rasterize.alpha_blending import ALPHA_MIN

CLAMP_MARGIN = 0.3  # the Jacobian is evaluated at most this fraction of half the image outside of it (3DGS)
MAX_SIGMA = 1e8  # px; a larger footprint overflows float32 when its determinant is formed
MIN_COMPENSATION = 1e-6  # of the squared factor by which antialiasing dims; see `_compensation`
Values = Float[Array, "..."]


class Projected(NamedTuple):
    """Gaussians on the image plane of one camera; a culled one has opacity 0 and extent 0."""

    mean2d: Float[Array, "N 2"]  # px
    conic: Float[Array, "N 3"]  # inverse 2-D covariance (a, b, c), 1/px^2
    opacity: Float[Array, "N"]  # [0, 1), antialias compensation applied
    depth: Float[Array, "N"]  # camera z, metres
    extent: Float[Array, "N 2"]  # px, half-size of the box outside which alpha < 1/255
    color: Float[Array, "N 3"]  # >= 0


class Lens(NamedTuple):
    """A pinhole camera as scalars, or columns of them."""

    rotation: Any  # rotation[i][j]: world to camera
    fx: Any  # px
    fy: Any
    skew: Any
    cx: Any
    cy: Any


def lens_of(rotation: Any, K: Any) -> Lens:
    """Return the scalars of a rotation and an intrinsic matrix, both indexed [i, j]."""
    rows = [[rotation[i, j] for j in range(3)] for i in range(3)]
    return Lens(rows, K[0, 0], K[1, 1], K[0, 1], K[0, 2], K[1, 2])


class Options(NamedTuple):
    """What is known before a program is compiled."""

    width: int
    height: int
    antialiased: bool
    near: float
    eps2d: float


class Columns(NamedTuple):
    """The `Projected` of some Gaussians without colour, number by number."""

    mean2d: tuple
    conic: tuple
    opacity: Array
    depth: Array
    extent: tuple


def project(
    means: Float[Array, "N 3"],
    quats: Float[Array, "N 4"],
    scales: Float[Array, "N 3"],
    opacities: Float[Array, "N"],
    sh: Float[Array, "N K 3"],
    camera_from_world: Float[Array, "4 4"],
    K: Float[Array, "3 3"],
    sh_degree: int | Int[Array, ""],
    options: Options,
    run: Callable[..., "Columns"] | None = None,
) -> Projected:
    """Project Gaussians; see `kernels.project.project` for the meaning of every argument.

    `run` is how `columns` is evaluated, None: at once.
    """
    # What is culled is replaced by harmless numbers before any arithmetic: `where` on results alone would
    # leave 0 * inf in their gradients.
    usable = _all_finite(means, quats, scales, opacities, sh) & (jnp.sum(quats * quats, -1) > 1e-24)
    means, opacities = _keep(usable, means, 0.0), _keep(usable, opacities, 0.0)
    quats, sh = _keep(usable, quats, 1.0), _keep(usable, sh, 0.0)
    # One matrix product, then column by column: more products would each be a pass over memory of their own;
    # without this one XLA evaluates the whole backward pass once per column of the means.
    rotation, translation = camera_from_world[:3, :3], camera_from_world[:3, 3]
    inside = (jnp.matmul(means, rotation.T, precision="highest") + translation).T
    out = (run or columns)(usable, inside, quats.T, scales.T, opacities, lens_of(rotation, K), options)
    color = sh_color(sh, view_directions(means, camera_from_world), sh_degree)
    return Projected(
        jnp.stack(out.mean2d, -1), jnp.stack(out.conic, -1), out.opacity, out.depth, jnp.stack(out.extent, -1), color
    )


def columns(usable: Any, inside: Any, quats: Any, scales: Any, opacities: Any, lens: Lens, options: Options) -> Columns:
    """Project Gaussians whose parameters come column by column.

    Nothing here indexes or stacks: the same arithmetic runs in jnp code and inside Pallas kernel bodies.

    Args:
        usable: which Gaussians have parameters that can be worked with.
        inside: x, y, z of the means in the camera, metres.
        quats: w, x, y, z.
        scales: three, metres.
        opacities: [0, 1).
        lens: of the camera.
        options: the rest.
    """
    x, y, depth = inside
    reach = MAX_SIGMA / jnp.maximum(jnp.abs(lens.fx), jnp.abs(lens.fy))
    largest = _highest(*[jnp.abs(s) for s in scales])
    usable = usable & (depth > options.near) & (largest < reach * depth) & (opacities > ALPHA_MIN)
    x, y, z = _keep(usable, x, 0.0), _keep(usable, y, 0.0), _keep(usable, depth, 1.0)
    scales = [_keep(usable, s, 1.0) for s in scales]

    row_x, row_y = _footprint(x / z, y / z, 1 / z, quats, scales, lens, options)
    a, b, c = _dot(row_x, row_x), _dot(row_x, row_y), _dot(row_y, row_y)
    # det(J S J^T) as a squared cross product: a c - b^2 would cancel for long thin footprints.
    cross = [row_x[i] * row_y[j] - row_x[j] * row_y[i] for i, j in ((0, 1), (1, 2), (2, 0))]
    det_sharp, eps2d = _dot(cross, cross), options.eps2d
    det = det_sharp + eps2d * (a + c) + eps2d * eps2d
    a, c = a + eps2d, c + eps2d
    if options.antialiased:
        opacities = opacities * _compensation(det_sharp / det)

    mean2d = (lens.fx * x + lens.skew * y) / z + lens.cx, lens.fy * y / z + lens.cy
    extent = _extent(opacities, a, c)
    for mean, half, size in zip(mean2d, extent, (options.width, options.height), strict=True):
        usable = usable & (mean + half > 0.5) & (mean - half < size - 0.5)
    usable = usable & (jnp.abs(det) < jnp.inf) & (opacities > ALPHA_MIN)
    return Columns(
        mean2d=mean2d,
        conic=(c / det, -b / det, a / det),
        opacity=jnp.where(usable, opacities, 0.0),
        depth=depth,
        extent=tuple(jnp.where(usable, half, 0.0) for half in extent),
    )


def _highest(first: Any, *rest: Any) -> Any:
    """Return the largest of some columns."""
    for other in rest:
        first = jnp.maximum(first, other)
    return first


def _dot(a: Any, b: Any) -> Array:
    """Return the sum of products of two triples of scalars or columns."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def rotation_rows(quats: Any) -> list[list[Values]]:
    """Return the entries, row by row, of the rotation matrices of w, x, y, z columns of any positive length."""
    w, x, y, z = quats
    per_length = lax.rsqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w * per_length, x * per_length, y * per_length, z * per_length
    return [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]


def view_directions(means: Float[Array, "N 3"], camera_from_world: Float[Array, "4 4"]) -> Float[Array, "N 3"]:
    """Return unit vectors from the camera centre to `means`, constant under differentiation."""
    rotation, translation = camera_from_world[:3, :3], camera_from_world[:3, 3]
    offset = lax.stop_gradient(means + jnp.matmul(rotation.T, translation, precision="highest"))
    return offset * lax.rsqrt(jnp.maximum(jnp.sum(offset * offset, -1, keepdims=True), 1e-24))


def _all_finite(*arrays: Float[Array, "N ..."]) -> Bool[Array, "N"]:
    """Return which Gaussians have only finite numbers (a sum is finite only if its terms are)."""
    totals = [jnp.sum(lax.stop_gradient(a), axis=tuple(range(1, a.ndim))) for a in arrays]
    return jnp.isfinite(sum(totals))


def _keep(usable: Bool[Array, "N"], values: Float[Array, "N ..."], otherwise: float | Array) -> Float[Array, "N ..."]:
    """Replace the rows of `values` that are not usable."""
    return jnp.where(usable.reshape(-1, *[1] * (values.ndim - 1)), values, otherwise)


def _footprint(
    u: Values, v: Values, per_z: Values, quats: Any, scales: Any, lens: Lens, options: Options
) -> tuple[list[Values], list[Values]]:
    """Return both rows of J R M, px: the images of a Gaussian's three axes (columns of M) under the Jacobian.

    J is that of the projection at (u, v, 1) / per_z, with (u, v) clamped to a little more than the image.
    """
    fx, fy, rotation = lens.fx, lens.fy, lens.rotation
    u, v = clamped(u, v, lens, options)
    along_x = [(rotation[0][j] - u * rotation[2][j]) * per_z for j in range(3)]
    along_y = [(rotation[1][j] - v * rotation[2][j]) * per_z for j in range(3)]
    along_x = [fx * p + lens.skew * q for p, q in zip(along_x, along_y, strict=True)]
    rows = rotation_rows(quats)
    axes = [[row[k] * scales[k] for row in rows] for k in range(3)]
    return [_dot(along_x, axis) for axis in axes], [fy * _dot(along_y, axis) for axis in axes]


def clamped(u: Values, v: Values, lens: Lens, options: Options) -> tuple[Values, Values]:
    """Return the directions (u, v) = (x, y) / z limited to a little more than the image."""
    fx, fy, cx, cy = lens.fx, lens.fy, lens.cx, lens.cy
    margin_x, margin_y = CLAMP_MARGIN * 0.5 * options.width / fx, CLAMP_MARGIN * 0.5 * options.height / fy
    u = _clip(u, -cx / fx - margin_x, (options.width - cx) / fx + margin_x)
    return u, _clip(v, -cy / fy - margin_y, (options.height - cy) / fy + margin_y)


def _clip(x: Values, low: Values, high: Values) -> Values:
    """Return x limited to [low, high]."""
    return jnp.minimum(jnp.maximum(x, low), high)


def _compensation(ratio: Values) -> Values:
    """Return sqrt(ratio) of the areas before and after the dilation (Yu et al. 2024, Mip-Splatting, eq. 9).

    Below MIN_COMPENSATION the result is under ALPHA_MIN and the Gaussian is culled; the bound keeps the root's slope
    finite.
    """
    return jnp.sqrt(jnp.maximum(ratio, MIN_COMPENSATION))


def _extent(opacity: Values, a: Values, c: Values) -> tuple[Values, Values]:
    """Return the half-size, px, of the box around the ellipse alpha = ALPHA_MIN of covariance (a, ., c)."""
    opacity, a, c = jax.tree.map(lax.stop_gradient, (opacity, a, c))
    twice_level = 2 * jnp.log(jnp.maximum(opacity / ALPHA_MIN, 1.0))
    return jnp.sqrt(twice_level * a), jnp.sqrt(twice_level * c)
