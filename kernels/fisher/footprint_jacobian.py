"""How the footprint of a Gaussian answers to its own geometry: one 6 x 10 matrix per Gaussian and view.

Geometry is perturbed in the Gaussian's own axes: mean 3 [m], rotation vector 3 [rad], log-scale 3, logit-opacity 1. The
footprint is (mean2d 2 [px], conic 3 [1/px^2], log opacity).
"""

import functools
import operator
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kernels.project.reference import (
    MIN_COMPENSATION,
    Lens,
    Options,
    Values,
    clamped,
    columns,
    lens_of,
    rotation_rows,
)

GEOMETRY = 10
PACKED = GEOMETRY * (GEOMETRY + 1) // 2  # numbers of a symmetric matrix
FOOTPRINT = 6


class Geometry(NamedTuple):
    """Gaussians, the camera that sees them, and how it does."""

    means: Float[Array, "N 3"]  # world, metres
    quats: Float[Array, "N 4"]  # wxyz
    scales: Float[Array, "N 3"]  # metres
    opacities: Float[Array, "N"]  # [0, 1)
    camera_from_world: Float[Array, "4 4"]
    K: Float[Array, "3 3"]  # pixels
    options: Options


def jacobian(geometry: Geometry) -> Float[Array, "N 6 10"]:
    """Return d footprint / d geometry; 0 for a Gaussian that the view does not show."""
    pose = geometry.camera_from_world
    rows = [[pose[i, j] for j in range(4)] for i in range(3)]
    lens = lens_of(pose, geometry.K)
    splats = [list(x.T) for x in (geometry.means, geometry.quats, geometry.scales)]
    _, L = footprint_columns(*splats, geometry.opacities, rows, lens, geometry.options)
    return jnp.stack([jnp.stack(column, -1) for column in L], -1)


def footprint_columns(
    means: list, quats: list, scales: list, opacity: Values, rows: list, lens: Lens, options: Options
) -> tuple[tuple[Array, tuple], list[list[Values]]]:
    """Return (visible, conic), and for every geometry parameter the six derivatives of the footprint, by columns.

    The derivatives of `kernels.project`, written out: automatic ones take ten times the operations. Nothing here
    indexes or stacks: the same arithmetic runs in jnp code and inside Pallas kernel bodies.

    Args:
        means: x, y, z.
        quats: w, x, y, z.
        scales: three.
        opacity: [0, 1).
        rows: world to camera, 3 x 4.
        lens: of the camera.
        options: the rest.
    """
    w, x, y, z = quats
    total = functools.reduce(operator.add, [*means, *quats, *scales, opacity])
    usable = (jnp.abs(total) < jnp.inf) & (w * w + x * x + y * y + z * z > 1e-24)
    inside = [row[0] * means[0] + row[1] * means[1] + row[2] * means[2] + row[3] for row in rows]
    out = columns(usable, inside, quats, scales, opacity, lens, options)
    visible = out.opacity > 0
    safe = lambda values, other: [jnp.where(visible, v, other) for v in values]
    (x, y), (z,), quats = safe(inside[:2], 0.0), safe(inside[2:], 1.0), safe(quats, 1.0)
    scales, conic, (opacity,) = safe(scales, 1.0), safe(out.conic, 1.0), safe([opacity], 0.5)
    L = _derivatives(x, y, z, quats, scales, opacity, conic, rows, lens, options)
    return (visible, out.conic), [safe(derivatives, 0.0) for derivatives in L]


def _derivatives(
    x: Values,
    y: Values,
    z: Values,
    quats: list,
    scales: list,
    opacity: Values,
    conic: list,
    rows: list,
    lens: Lens,
    options: Options,
) -> list[list[Values]]:
    """Return the ten times six derivatives of Gaussians that are seen.

    With e_j the unit axes and s_j the scales, p_j = s_j q_j are the images of the axes, q_j = J W e_j. A step of the
    mean along e_k moves the point of view, a turn about e_k carries e_i to e_j and e_j to -e_i for (k, i, j) cyclic,
    and a log-scale stretches p_k.
    """
    axes = rotation_rows(quats)
    in_camera = [[dot(rows[i][:3], [axes[m][j] for m in range(3)]) for i in range(3)] for j in range(3)]
    u, v = x / z, y / z
    u_held, v_held = clamped(u, v, lens, options)
    # Outside of the clamp the Jacobian stands still. Two computations of x / z may round apart, hence no equality.
    moves_u, moves_v = (jnp.abs(held - free) <= 1e-5 for held, free in ((u_held, u), (v_held, v)))
    image = lambda along_x, along_y: (lens.fx * along_x + lens.skew * along_y, lens.fy * along_y)
    flat = [((a - u_held * c) / z, (b - v_held * c) / z, c / z) for a, b, c in in_camera]
    q = [image(along_x, along_y) for along_x, along_y, _ in flat]
    p = [(s * qx, s * qy) for s, (qx, qy) in zip(scales, q, strict=True)]
    push = _covariance_pushforward(p, conic, options)

    none = jnp.zeros_like(z)
    L = []
    for a, b, c in in_camera:  # a step of one metre along an axis
        du, dv, dz = (a - u * c) / z, (b - v * c) / z, c / z
        held_u, held_v = jnp.where(moves_u, du, 0.0), jnp.where(moves_v, dv, 0.0)
        dp = {
            j: tuple(scales[j] * d for d in image(-held_u * depth - fx * dz, -held_v * depth - fy * dz))
            for j, (fx, fy, depth) in enumerate(flat)
        }
        L.append([*image(du, dv), *push(dp)])
    for k in range(3):  # a turn of one radian about an axis
        i, j = (k + 1) % 3, (k + 2) % 3
        dp = {i: tuple(scales[i] * d for d in q[j]), j: tuple(-scales[j] * d for d in q[i])}
        L.append([none, none, *push(dp)])
    L += [[none, none, *push({k: p[k]})] for k in range(3)]
    return [*L, [none] * 5 + [1 - opacity]]


def dot(first: list, second: list) -> Values:
    """Return the sum of products of columns."""
    return functools.reduce(operator.add, [a * b for a, b in zip(first, second, strict=True)])


def _covariance_pushforward(p: list, conic: list, options: Options) -> Callable:
    """Return the map from steps of p_j to those of (conic, log opacity).

    The determinant is that of squared cross products, as in the projection: from the entries of the covariance it, and
    with it all derivatives, would cancel for long thin footprints.
    """
    cross = {(i, j): p[i][0] * p[j][1] - p[j][0] * p[i][1] for i, j in ((0, 1), (1, 2), (2, 0))}
    sharp = dot(*[list(cross.values())] * 2)
    spread = dot(*[[x for pair in p for x in pair]] * 2)
    det = sharp + options.eps2d * spread + options.eps2d**2

    def push(dp: dict[int, tuple]) -> list[Values]:
        """Take the steps of those p_j that move."""
        px, py, dx, dy = ([pair[i] for pair in pairs] for pairs in ([p[j] for j in dp], dp.values()) for i in (0, 1))
        da, db, dc = 2 * dot(px, dx), dot(px, dy) + dot(py, dx), 2 * dot(py, dy)
        turned = []
        for (i, j), value in cross.items():
            terms = [dp[i][0] * p[j][1] - p[j][0] * dp[i][1]] if i in dp else []
            terms += [p[i][0] * dp[j][1] - dp[j][0] * p[i][1]] if j in dp else []
            turned += [value * term for term in terms]
        dsharp = 2 * functools.reduce(operator.add, turned)
        ddet = dsharp + options.eps2d * (da + dc)
        shape = [(d - k * ddet) / det for d, k in zip((dc, -db, da), conic, strict=True)]
        if not options.antialiased:
            return [*shape, jnp.zeros_like(det)]
        kept = sharp / det > MIN_COMPENSATION
        relative = dsharp / jnp.where(kept, sharp, 1.0) - ddet / det
        return [*shape, jnp.where(kept, 0.5 * relative, 0.0)]

    return push
