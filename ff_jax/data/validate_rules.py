"""Rules that several parts of a log share: rigid poses, time indices, finite points, names."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
from jaxtyping import Shaped

from ff_jax.data.scene_data import SceneData

RIGID_TOLERANCE = 1e-3  # largest entry of R^T R - I; calibrations printed with four digits pass
MAX_CAMERA_DISTANCE = 30.0  # meters between a sensor and its ego pose: a long truck passes
MAX_FROM_ORIGIN = 20_000.0  # meters from the world origin: float32 resolves 2 mm there
MAX_NAME = 200  # characters: names become parts of file names

Array = np.ndarray
T = TypeVar("T")


def time_index(scene: SceneData, index: int) -> tuple[str, ...]:
    """Check a time index; give no or one problem."""
    if 0 <= index < len(scene.times):
        return ()
    return (f"time index {index} is outside 0..{len(scene.times) - 1}; it counts the entries of times",)


def name(kind: str, text: str) -> Iterator[str]:
    """Check a name of a camera, a sensor or a track."""
    if not text.strip():
        yield f"the {kind} has no name; add one"
    elif len(text) > MAX_NAME or not text.isprintable():
        yield f"the {kind} is named {text[:40]!r}; use at most {MAX_NAME} printable characters"


def rigid(label: str, pose: Shaped[Array, "4 4"]) -> Iterator[str]:
    """Check that a pose is a right-handed rotation and a translation (in plain numbers: a log has many boxes)."""
    rows = pose.tolist()
    if not all(map(math.isfinite, itertools.chain.from_iterable(rows))):
        row, column = np.argwhere(~np.isfinite(pose))[0]
        value = f"[{row}][{column}] = {pose[row, column]}"
        yield f"{label} has a value that is not finite, {value}; drop it or interpolate the pose"
        return
    (a, b, c, _), (d, e, f, _), (g, h, i, _), last = rows
    squares = (a * a + d * d + g * g, b * b + e * e + h * h, c * c + f * f + i * i)
    products = (a * b + d * e + g * h, a * c + d * f + g * i, b * c + e * f + h * i)
    error = max(*(abs(square - 1) for square in squares), *map(abs, products))
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    if error > RIGID_TOLERANCE or determinant < 0 or last != [0, 0, 0, 1]:
        yield (
            f"{label} is not rigid (R^T R differs from I by {error:.2g}, det {determinant:.3g}, last row {last}); use "
            "a right-handed rotation and a translation, without scale"
        )


def near_vehicle(scene: SceneData, label: str, index: int, pose: Shaped[Array, "4 4"], reach: float) -> Iterator[str]:
    """Check that a pose is within `reach` meters of the ego vehicle at a time index that exists."""
    if index >= len(scene.world_from_ego):
        return
    distance = math.dist(pose[:3, 3].tolist(), scene.world_from_ego[index, :3, 3].tolist())
    if distance > reach:
        yield (
            f"the {label} is {distance:.1f} m from the ego vehicle (more than {reach:g}); use the same world frame "
            "for both poses, in meters"
        )


def finite_points(points: Shaped[Array, "N d"], reach: float) -> Iterator[str]:
    """Check that all points are finite, and within `reach` meters of the world origin along every axis."""
    bad = np.flatnonzero(~(np.abs(points) <= reach).all(1))
    if len(bad) == 0:
        return
    values = points[bad[0]].tolist()
    if np.isfinite(points[bad[0]]).all():
        yield f"point {bad[0]} = {values} is more than {reach:g} m from the origin; remove it or use meters"
    else:
        yield f"point {bad[0]} is not finite: {values}; remove it"


def result_or_error(load: Callable[[], T]) -> T | str:
    """Call `load`; on a ValueError return its text without the final period."""
    try:
        return load()
    except ValueError as error:
        return str(error).rstrip(".")
