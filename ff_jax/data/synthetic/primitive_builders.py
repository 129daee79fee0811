"""Build primitives on the host as tuples, and pack them once into the fixed-size arrays of `Primitives`."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import ArrayLike

from ff_jax.data.synthetic.types import BOX, CYLINDER, ELLIPSOID, PANEL, Primitives

Color = tuple[float, float, float]
Vector = Sequence[float | int] | np.ndarray  # of three numbers, or the columns of a shape
Scalar = float | int
GRAY: Color = (0.3, 0.3, 0.3)


class Part(NamedTuple):
    """One primitive; lengths in meters, `center` and `yaw` in the frame of the owner."""

    kind: int
    center: Vector
    yaw: float
    shape: Vector
    radius: float
    material: int
    color: Color
    trim: Color = GRAY
    style: Vector = ()
    owner: int = 0


def to_color(values: Iterable[float]) -> Color:
    """Convert three numbers to a color."""
    red, green, blue = map(float, values)
    return red, green, blue


def box(
    center: Vector,
    size: Vector,
    material: int,
    color: Color,
    *,
    yaw: Scalar = 0.0,
    taper: Vector = (0.0, 0.0, 0.0),
    **attributes: Any,
) -> Part:
    """Build a box of `size` (length, width, height) whose top is inset by `taper` (front, rear, side)."""
    (length, width, height), (front, rear, side) = size, taper
    bounds = (0.5 * (length - front), 0.5 * (length - rear), 0.5 * width - 0.5 * side, 0.5 * height)
    slopes = (front / height, rear / height, side / height)
    return Part(BOX, center, yaw, (*bounds, *slopes), 0.5 * float(np.linalg.norm(size)), material, color, **attributes)


def cylinder(
    center: Vector,
    radius: Scalar,
    height: Scalar,
    material: int,
    color: Color,
    *,
    top: Scalar | None = None,
    lying: bool = False,
    **attributes: Any,
) -> Part:
    """Build an upright cylinder (a cone frustum with `top` radius), or one with `lying` along y."""
    top = radius if top is None else top
    shape = (0.5 * (radius + top), (top - radius) / height, 0.5 * height, float(lying))
    bound = float(np.hypot(max(radius, top), 0.5 * height))
    return Part(CYLINDER, center, 0.0, shape, bound, material, color, **attributes)


def ellipsoid(
    center: Vector,
    radii: Vector,
    material: int,
    color: Color,
    *,
    leaves: Scalar = 9.0,
    frequency: Scalar = 1.0,
    **attributes: Any,
) -> Part:
    """Build an ellipsoid; `leaves` below 3 opens holes where the leaf field exceeds it."""
    return Part(ELLIPSOID, center, 0.0, (*radii, leaves, frequency), float(max(radii)), material, color, **attributes)


def panel(
    center: Vector,
    length: Scalar,
    height: Scalar,
    material: int,
    color: Color,
    *,
    slats: tuple[Scalar, Scalar] = (0.0, 1.0),
    yaw: Scalar = 0.0,
    **attributes: Any,
) -> Part:
    """Build an upright sheet along x, with two rails; `slats`: their period (meters; 0: solid) and share of it."""
    bound = 0.5 * float(np.hypot(length, height))
    return Part(PANEL, center, yaw, (0.5 * length, 0.5 * height, *slats), bound, material, color, **attributes)


def move_part(part: Part, origin: Vector, yaw: Scalar) -> Part:
    """Move a part from the origin to `origin` (x, y, z), and rotate it by `yaw`."""
    x, y, z = part.center
    c, s = np.cos(yaw), np.sin(yaw)
    return part._replace(
        center=(origin[0] + c * x - s * y, origin[1] + s * x + c * y, origin[2] + z), yaw=part.yaw + yaw
    )


def _padded(values: Vector, width: int) -> list[float]:
    return [*map(float, values), *[0.0] * (width - len(values))]


def pack(parts: Sequence[Part], counts: tuple[int, int, int, int]) -> Primitives:
    """Pack parts into arrays of fixed capacity.

    Raises:
        ValueError: more parts of a kind than its capacity.
    """
    slots = []
    for kind, capacity in enumerate(counts):
        own = [part for part in parts if part.kind == kind]
        if len(own) > capacity:
            name = ("boxes", "cylinders", "ellipsoids", "panels")[kind]
            raise ValueError(f"{len(own)} {name} exceed the capacity of {capacity}; raise Capacities.{name}.")
        empty = Part(kind, (0, 0, 0), 0.0, [1.0] * 7 if kind != CYLINDER else (1, 0, 1, 0), -1.0, 0, GRAY)
        slots += own + [empty] * (capacity - len(own))

    def column(values: ArrayLike | Sequence, dtype: type = np.float32) -> jax.Array:
        return jax.device_put(np.asarray(values, dtype))

    return Primitives(
        center=column([p.center for p in slots]),
        yaw=column([p.yaw for p in slots]),
        shape=column([_padded(p.shape, 7) for p in slots]),
        radius=column([p.radius for p in slots]),
        owner=column([p.owner for p in slots], np.int32),
        material=column([p.material for p in slots], np.int32),
        color=column([p.color for p in slots]),
        trim=column([p.trim for p in slots]),
        style=column([_padded(p.style, 8) for p in slots]),
        seed=column(np.arange(len(slots)) * 0.618034 % 1.0),
        counts=counts,
    )
