"""Intersect rays with primitives: nearest hits, normals, and the packed rows that the tracer gathers.

Rays are component-major arrays (3, ...); the columns of a row broadcast against them.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from ff_jax.data.synthetic.ground import FAR
from ff_jax.data.synthetic.procedural_noise import leaf_field
from ff_jax.data.synthetic.types import BOX, CYLINDER, ELLIPSOID, PANEL, Primitives, Vehicles
from ff_jax.data.synthetic.vectors import dot, norm

LEAF_SIZE = 0.6  # of a leaf period: the footprint at which leaf holes have faded out


Scalar = Float[Array, "..."]
Vector = Float[Array, "3 ..."]


class PrimitiveGeometry(NamedTuple):
    """Geometry of primitives in the world, ready to broadcast against rays."""

    center: Float[Array, "3 ..."]
    cos: Float[Array, "..."]
    sin: Float[Array, "..."]
    shape: Float[Array, "7 ..."]


def geometry_table(primitives: Primitives, vehicles: Vehicles, frame: Float[Array, ""]) -> Float[Array, "N 12"]:
    """Compute center, cos yaw, sin yaw, shape of every primitive in the world at a fractional frame index."""
    low = jnp.clip(jnp.floor(frame).astype(jnp.int32), 0, max(vehicles.yaw.shape[1] - 2, 0))
    high = jnp.minimum(low + 1, vehicles.yaw.shape[1] - 1)
    u = frame - low
    position = vehicles.position[:, low] * (1 - u) + vehicles.position[:, high] * u
    yaw = vehicles.yaw[:, low] * (1 - u) + vehicles.yaw[:, high] * u
    position = jnp.concatenate([jnp.zeros((1, 3)), position])[primitives.owner]
    yaw = jnp.concatenate([jnp.zeros(1), yaw])[primitives.owner]
    x, y, z = primitives.center.T
    offset = jnp.stack([x * jnp.cos(yaw) - y * jnp.sin(yaw), x * jnp.sin(yaw) + y * jnp.cos(yaw), z], -1)
    heading = primitives.yaw + yaw
    return jnp.concatenate(
        [position + offset, jnp.cos(heading)[:, None], jnp.sin(heading)[:, None], primitives.shape], -1
    )


def unpack(rows: Float[Array, "*r 12"]) -> PrimitiveGeometry:
    """Split gathered rows of the geometry table."""
    columns = jnp.moveaxis(rows, -1, 0)
    return PrimitiveGeometry(columns[:3], columns[3], columns[4], columns[5:])


def to_local(row: PrimitiveGeometry, vector: Float[Array, "3 ..."]) -> Float[Array, "3 ..."]:
    """Rotate a world vector into the frame of the primitive (no translation)."""
    x, y, z = vector
    return jnp.stack([x * row.cos + y * row.sin, y * row.cos - x * row.sin, z + 0 * row.cos])


def to_world(row: PrimitiveGeometry, vector: Float[Array, "3 ..."]) -> Float[Array, "3 ..."]:
    """Rotate a vector of the primitive's frame into the world."""
    x, y, z = vector
    return jnp.stack([x * row.cos - y * row.sin, x * row.sin + y * row.cos, z])


def _safe(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.where(jnp.abs(x) < 1e-9, 1e-9, x)


def _hit_box(row: PrimitiveGeometry, o: Vector, d: Vector, cone: Scalar) -> Scalar:
    bf, br, bs, hz, af, ar, sl = row.shape
    enter, leave = -FAR, FAR
    planes = ((1, 0, af, bf), (-1, 0, ar, br), (0, 1, sl, bs), (0, -1, sl, bs), (0, 0, 1, hz), (0, 0, -1, hz))
    for a, b, c, bound in planes:
        speed = _safe(a * d[0] + b * d[1] + c * d[2])
        t = (bound - (a * o[0] + b * o[1] + c * o[2])) / speed
        enter = jnp.where(speed < 0, jnp.maximum(enter, t), enter)
        leave = jnp.where(speed > 0, jnp.minimum(leave, t), leave)
    return jnp.where((enter < leave) & (enter > 0), enter, FAR)


def _axial(row: PrimitiveGeometry, p: Vector) -> tuple[Scalar, Scalar, Scalar]:
    """Split a vector into the coordinate along the axis of a cylinder and the two across it."""
    lying = row.shape[3] > 0.5
    return jnp.where(lying, p[1], p[2]), p[0], jnp.where(lying, p[2], p[1])


def _hit_cylinder(row: PrimitiveGeometry, o: Vector, d: Vector, cone: Scalar) -> Scalar:
    radius, slope, half = row.shape[:3]
    (ow, ou, ov), (dw, du, dv) = _axial(row, o), _axial(row, d)
    r = radius + slope * ow
    # Negative for rays steeper than the flank of a cone.
    a = _safe(du * du + dv * dv - (slope * dw) ** 2)
    b = ou * du + ov * dv - slope * dw * r
    c = ou * ou + ov * ov - r * r
    disc = b * b - a * c
    root = jnp.sqrt(jnp.maximum(disc, 0.0))
    # The root of entry, for either sign of `a`; the first form is stable as `a` approaches 0.
    t = jnp.where(b < 0, c / _safe(root - b), (-b - root) / a)
    side = jnp.where((disc > 0) & (t > 0) & (jnp.abs(ow + t * dw) <= half), t, FAR)
    dw = _safe(dw)
    cap = (-jnp.sign(dw) * half - ow) / dw
    u, v, rim = ou + cap * du, ov + cap * dv, radius - slope * jnp.sign(dw) * half
    cap = jnp.where((cap > 0) & (u * u + v * v <= rim * rim), cap, FAR)
    return jnp.minimum(side, cap)


def _hit_ellipsoid(row: PrimitiveGeometry, o: Vector, d: Vector, cone: Scalar) -> Scalar:
    radii, threshold, frequency = row.shape[:3], row.shape[3], row.shape[4]
    so, sd = o / radii, d / radii
    a, b = dot(sd, sd), dot(so, sd)
    disc = b * b - a * (dot(so, so) - 1.0)
    root = jnp.sqrt(jnp.maximum(disc, 0.0))
    t = jnp.stack([-b - root, -b + root]) / a
    x, y, z = (o[k] + t * d[k] + row.center[k] for k in range(3))
    fade = jnp.clip(1.6 - cone * t * frequency / LEAF_SIZE, 0.0, 1.0)
    leafy = (t > 0) & (disc > 0) & (leaf_field(x, y, z, frequency) * fade < threshold)
    return jnp.min(jnp.where(leafy, t, FAR), 0)


def _hit_panel(row: PrimitiveGeometry, o: Vector, d: Vector, cone: Scalar) -> Scalar:
    half, height, period, duty = row.shape[:4]
    t = -o[1] / _safe(d[1])
    x, z = o[0] + t * d[0], o[2] + t * d[2]
    phase = x / jnp.maximum(period, 1e-3)
    slat = (phase - jnp.floor(phase) < duty) | (period <= 0)
    rail = (jnp.abs(z - 0.86 * height) < 0.03) | (jnp.abs(z + 0.7 * height) < 0.03)
    hit = (t > 0) & (jnp.abs(x) <= half) & (jnp.abs(z) <= height) & (slat | rail)
    return jnp.where(hit, t, FAR)


HIT = {BOX: _hit_box, CYLINDER: _hit_cylinder, ELLIPSOID: _hit_ellipsoid, PANEL: _hit_panel}


def hit(
    kind: int,
    row: PrimitiveGeometry,
    origin: Float[Array, "3 ..."],
    direction: Float[Array, "3 ..."],
    cone: Float[Array, ""],
) -> Float[Array, "..."]:
    """Compute the ray parameter of the first hit with primitives of one kind (FAR: none).

    Args:
        kind: BOX, CYLINDER, ELLIPSOID or PANEL.
        row: geometry of the primitives.
        origin: of the rays, meters, world.
        direction: of the rays, world.
        cone: width of a ray per meter of distance; leaf holes narrower than the ray are closed.
    """
    local = to_local(row, origin - row.center)
    return HIT[kind](row, local, to_local(row, direction), cone)


def _argmax_normal(candidates: list[Vector], residuals: list[Scalar]) -> Vector:
    best, normal = residuals[0], candidates[0]
    for vector, residual in zip(candidates[1:], residuals[1:], strict=True):
        normal = jnp.where(residual > best, vector, normal)
        best = jnp.maximum(best, residual)
    return normal / norm(normal)


def _box_normal(row: PrimitiveGeometry, p: Vector) -> Vector:
    bf, br, bs, hz, af, ar, sl = row.shape
    zero, one = jnp.zeros_like(p[0]), jnp.ones_like(p[0])
    planes = (
        (one, zero, af, bf),
        (-one, zero, ar, br),
        (zero, one, sl, bs),
        (zero, -one, sl, bs),
        (zero, zero, one, hz),
        (zero, zero, -one, hz),
    )
    normals = [jnp.stack([a, b, c + zero]) for a, b, c, _ in planes]
    length = [norm(n) for n in normals]
    residuals = [(dot(n, p) - q[3]) / s for n, q, s in zip(normals, planes, length, strict=True)]
    return _argmax_normal(normals, residuals)


def _cylinder_normal(row: PrimitiveGeometry, p: Vector) -> Vector:
    radius, slope, half = row.shape[:3]
    w, u, v = _axial(row, p)
    zero, lying = jnp.zeros_like(w), row.shape[3] > 0.5
    along = jnp.where(lying, jnp.stack([zero, jnp.sign(w), zero]), jnp.stack([zero, zero, jnp.sign(w)]))
    around = jnp.where(lying, jnp.stack([u, zero, v]), jnp.stack([u, v, zero]))
    rim = jnp.sqrt(u * u + v * v)
    return _argmax_normal([along, around / jnp.maximum(rim, 1e-6)], [jnp.abs(w) - half, rim - radius - slope * w])


def local_normal(
    kind: Int[Array, "..."], row: PrimitiveGeometry, point: Float[Array, "3 ..."]
) -> Float[Array, "3 ..."]:
    """Compute the outward unit normal at a surface point in the primitive's frame."""
    ball = point / jnp.maximum(row.shape[:3], 1e-3) ** 2
    ball = ball / jnp.maximum(norm(ball), 1e-9)
    flat = jnp.stack([jnp.zeros_like(point[0]), jnp.ones_like(point[0]), jnp.zeros_like(point[0])])
    normal = jnp.where(kind == BOX, _box_normal(row, point), _cylinder_normal(row, point))
    return jnp.where(kind == ELLIPSOID, ball, jnp.where(kind == PANEL, flat, normal))
