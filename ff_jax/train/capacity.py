"""The capacity of the tile lists: planned before training, so that the training step is compiled once.

A capacity is a static shape: another one means another program. It is planned from the intersections of the initial
scene and the growth that density control may bring. Where that does not suffice, it grows in fixed steps; the program
of the next step can be compiled ahead, because only the present capacity decides which one it is.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
from jax import Array
from jaxtyping import Int

from ff_jax.render.renderer import RenderInput, RenderSettings, project_gaussians
from ff_jax.scene import Scene, View, compose
from kernels import TileGrid, count_tiles

_HEADROOM = 1.4  # capacity over the largest count so far: growing again means compiling again
_SMALLEST = 1 << 15  # a smaller capacity saves nothing worth a compilation
_IDLE = 0.2  # share of the capacity below which it shrinks
_FULL = 0.95  # share of the capacity at which it grows, before anything is dropped
_NEAR = 0.7  # share of the capacity at which the next one is compiled ahead
_MOST_GROWTH = 2.0  # that is planned for: more idle capacity costs more time than a program that is compiled ahead
_MOST_PLANNED = 1 << 23  # intersections: about 1 GB of lists and gradients


def round_up_capacity(num_intersections: int) -> int:
    """Round up to a power of two or the midpoint of two of them, so that few capacities are ever compiled."""
    target = max(num_intersections, _SMALLEST)
    unit = 1 << max(target.bit_length() - 2, 0)
    return -(-target // unit) * unit


def planned_capacity(num_intersections: int, num_gaussians: int, budget: int) -> int:
    """Plan the capacity of a whole training.

    Args:
        num_intersections: the largest count of the initial scene.
        num_gaussians: of the initial scene.
        budget: the number of Gaussians that density control may reach.
    """
    growth = min(max(budget / max(num_gaussians, 1), 1.0), _MOST_GROWTH)
    present = _HEADROOM * num_intersections
    return round_up_capacity(int(max(present, min(growth * present, _MOST_PLANNED))))


def next_capacity(capacity: int) -> int:
    """Return the capacity that follows when this one is full."""
    return round_up_capacity(int(_HEADROOM * capacity))


def is_near_full(settings: RenderSettings, num_intersections: int) -> bool:
    """Check whether the next capacity may be needed soon."""
    return num_intersections > _NEAR * settings.capacity


def is_idle(settings: RenderSettings, num_intersections: int) -> bool:
    """Check whether most of the capacity is idle: the time of sorting is proportional to it."""
    return num_intersections < _IDLE * settings.capacity and settings.capacity > 2 * _SMALLEST


def resize_capacity(settings: RenderSettings, num_intersections: int, *, shrink: bool = False) -> RenderSettings:
    """Increase the capacity if `num_intersections` is close to it.

    Args:
        settings: renderer settings.
        num_intersections: the largest count so far.
        shrink: also decrease the capacity when most of it is idle.
    """
    capacity = settings.capacity
    if num_intersections > _FULL * capacity:
        following = next_capacity(capacity)
        is_enough = num_intersections <= _FULL * following
        capacity = following if is_enough else round_up_capacity(int(_HEADROOM * num_intersections))
    elif shrink and is_idle(settings, num_intersections):
        capacity = round_up_capacity(int(_HEADROOM * num_intersections))
    return dataclasses.replace(settings, capacity=capacity)


def count_intersections(scene: Scene, views: Sequence[View], settings: RenderSettings) -> int:
    """Count the tile intersections of each view and return the largest number; offsets of views are ignored."""
    settings = dataclasses.replace(settings, capacity=1)  # unused: one program for all capacities
    return max(int(_count(scene, view._replace(offset=None), settings)) for view in views)


@functools.partial(jax.jit, static_argnames=("settings",))
def _count(scene: Scene, view: View, settings: RenderSettings) -> Int[Array, ""]:
    camera = view.camera
    projected = project_gaussians(RenderInput(compose(scene, view.time), camera, settings, 0))
    return count_tiles(projected, TileGrid(camera.width, camera.height, settings.tile_size))
