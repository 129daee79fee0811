"""Jacobian of a Gaussian's footprint with respect to its geometry: one 6 x 10 matrix per Gaussian and view.

Geometry is perturbed in the Gaussian's own axes: mean 3 [m], rotation vector 3 [rad], log-scale 3, logit-opacity 1. The
footprint is (mean2d 2 [px], conic 3 [1/px^2], log opacity).
"""

import functools
import operator
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kernels.fisher.types import ViewGeometry
from kernels.project.reference import MIN_COMPENSATION, clamp_directions, project_columns, rotation_rows
from kernels.project.types import Lens, ProjectionOptions, Values, lens_of

NUM_GEOMETRY = 10  # parameters
NUM_FOOTPRINT = 6
PACKED_GEOMETRY = NUM_GEOMETRY * (NUM_GEOMETRY + 1) // 2  # numbers of a symmetric matrix


def footprint_jacobian(geometry: ViewGeometry) -> Float[Array, "N 6 10"]:
    """Compute d footprint / d geometry; 0 for a Gaussian that is culled in the view."""
    (means, quats, scales, opacities, _), (pose, K), options = geometry
    rows = [[pose[i, j] for j in range(4)] for i in range(3)]
    lens = lens_of(pose, K)
    _, L = footprint_columns(list(means.T), list(quats.T), list(scales.T), opacities, rows, lens, options)
    return jnp.stack([jnp.stack(column, -1) for column in L], -1)


def footprint_columns(
    means: list, quats: list, scales: list, opacity: Values, rows: list, lens: Lens, options: ProjectionOptions
) -> tuple[tuple[Array, tuple], list[list[Values]]]:
    """Compute (visible, conic), and for every geometry parameter the six derivatives of the footprint, by columns.

    These are the derivatives of `kernels.project`, written out: automatic differentiation takes ten times the
    operations. Nothing here indexes or stacks: the same arithmetic runs in jnp code and inside Pallas kernel bodies.

    Args:
        means: x, y, z.
        quats: w, x, y, z.
        scales: three.
        opacity: [0, 1).
        rows: world to camera, 3 x 4.
        lens: of the camera.
        options: static options.
    """
    w, x, y, z = quats
    total = functools.reduce(operator.add, [*means, *quats, *scales, opacity])
    usable = (jnp.abs(total) < jnp.inf) & (w * w + x * x + y * y + z * z > 1e-24)
    in_camera = [row[0] * means[0] + row[1] * means[1] + row[2] * means[2] + row[3] for row in rows]
    out = project_columns(usable, in_camera, quats, scales, opacity, lens, options)
    visible = out.opacity > 0

    def safe(values: Sequence[Values], fallback: float) -> list[Values]:
        return [jnp.where(visible, v, fallback) for v in values]

    position, quats = [*safe(in_camera[:2], 0.0), *safe(in_camera[2:], 1.0)], safe(quats, 1.0)
    scales, conic, (opacity,) = safe(scales, 1.0), safe(out.conic, 1.0), safe([opacity], 0.5)
    L = _derivatives(position, quats, scales, opacity, conic, lens, options)
    return (visible, out.conic), [safe(derivatives, 0.0) for derivatives in L]


def _derivatives(
    position: list, quats: list, scales: list, opacity: Values, conic: list, lens: Lens, options: ProjectionOptions
) -> list[list[Values]]:
    """Compute the ten times six derivatives of visible Gaussians.

    With e_j the unit axes and s_j the scales, p_j = s_j q_j are the images of the axes, q_j = J W e_j. A step of the
    mean along e_k moves the point of view, a rotation about e_k carries e_i to e_j and e_j to -e_i for (k, i, j)
    cyclic, and a log-scale stretches p_k.
    """
    x, y, z = position
    axes = rotation_rows(quats)
    in_camera = [[dot(lens.rotation[i][:3], [axes[m][j] for m in range(3)]) for i in range(3)] for j in range(3)]
    u, v = x / z, y / z
    u_clamped, v_clamped = clamp_directions(u, v, lens, options)
    # Outside of the clamp the Jacobian is constant. Two computations of x / z may round differently: no equality.
    is_u_free, is_v_free = (jnp.abs(c - free) <= 1e-5 for c, free in ((u_clamped, u), (v_clamped, v)))

    def image(along_x: Values, along_y: Values) -> tuple[Values, Values]:
        return lens.fx * along_x + lens.skew * along_y, lens.fy * along_y

    flat = [((a - u_clamped * c) / z, (b - v_clamped * c) / z, c / z) for a, b, c in in_camera]
    q = [image(along_x, along_y) for along_x, along_y, _ in flat]
    p = [(s * qx, s * qy) for s, (qx, qy) in zip(scales, q, strict=True)]
    push = _covariance_pushforward(p, conic, options)

    zero = jnp.zeros_like(z)
    L = []
    for a, b, c in in_camera:  # a step of one meter along an axis
        du, dv, dz = (a - u * c) / z, (b - v * c) / z, c / z
        clamped_du, clamped_dv = jnp.where(is_u_free, du, 0.0), jnp.where(is_v_free, dv, 0.0)
        dp = {
            j: tuple(scales[j] * d for d in image(-clamped_du * depth - fx * dz, -clamped_dv * depth - fy * dz))
            for j, (fx, fy, depth) in enumerate(flat)
        }
        L.append([*image(du, dv), *push(dp)])
    for k in range(3):  # a rotation of one radian about an axis
        i, j = (k + 1) % 3, (k + 2) % 3
        dp = {i: tuple(scales[i] * d for d in q[j]), j: tuple(-scales[j] * d for d in q[i])}
        L.append([zero, zero, *push(dp)])
    L += [[zero, zero, *push({k: p[k]})] for k in range(3)]
    return [*L, [zero] * 5 + [1 - opacity]]


def dot(first: Sequence[Values], second: Sequence[Values]) -> Values:
    """Compute the sum of products of columns."""
    return functools.reduce(operator.add, [a * b for a, b in zip(first, second, strict=True)])


def _covariance_pushforward(p: list, conic: list, options: ProjectionOptions) -> Callable:
    """Build the map from steps of p_j to steps of (conic, log opacity).

    The determinant is a sum of squared cross products, as in the projection: the entries of the covariance would
    cancel for long thin footprints, and with them all derivatives.
    """
    cross = {(i, j): p[i][0] * p[j][1] - p[j][0] * p[i][1] for i, j in ((0, 1), (1, 2), (2, 0))}
    crosses, entries = list(cross.values()), [x for pair in p for x in pair]
    sharp = dot(crosses, crosses)
    spread = dot(entries, entries)
    det = sharp + options.eps2d * spread + options.eps2d**2

    def push(dp: dict[int, tuple]) -> list[Values]:
        """Map the steps of the p_j that change."""
        px, py, dx, dy = ([pair[i] for pair in pairs] for pairs in ([p[j] for j in dp], dp.values()) for i in (0, 1))
        da, db, dc = 2 * dot(px, dx), dot(px, dy) + dot(py, dx), 2 * dot(py, dy)
        terms = []
        for (i, j), value in cross.items():
            steps = [dp[i][0] * p[j][1] - p[j][0] * dp[i][1]] if i in dp else []
            steps += [p[i][0] * dp[j][1] - dp[j][0] * p[i][1]] if j in dp else []
            terms += [value * step for step in steps]
        dsharp = 2 * functools.reduce(operator.add, terms)
        ddet = dsharp + options.eps2d * (da + dc)
        shape = [(d - k * ddet) / det for d, k in zip((dc, -db, da), conic, strict=True)]
        if not options.antialiased:
            return [*shape, jnp.zeros_like(det)]
        is_free = sharp / det > MIN_COMPENSATION
        relative = dsharp / jnp.where(is_free, sharp, 1.0) - ddet / det
        return [*shape, jnp.where(is_free, 0.5 * relative, 0.0)]

    return push
