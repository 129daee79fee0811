"""What is known about the colour behind everything, by direction.

The background (the sky) is a smooth function of the direction of view, so its posterior is kept per direction: on
an octahedral map (Cigolle et al. 2014, JCGT 3(2)) of SIDE x SIDE cells, about 6 degrees each. A cell is one
unknown colour, and all pixels of one view in it count as one observation of it, their mean information: the pixels
of a cell share their errors. Only pixels that show mostly background count, because elsewhere what a pixel says
about the background cannot be told from what it says about the opacity in front. So a hole that opens beside the
road keeps the prior, while the sky, once seen, is known.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Float, Int

from ff_jax.render.camera import Camera
from ff_jax.render.renderer import ray_directions

SIDE = 32
CELLS = SIDE * SIDE
MOSTLY = 0.5  # transmittance above which a pixel shows mostly background
_UNIT = 1024.0  # fixed point: integers add up to the same sum in any order
_GROUPS = 64  # sums per cell: neighbouring pixels mostly share a cell, and on a GPU would wait for each other


def cell_of(directions: Float[Array, "*n 3"]) -> Int[Array, "*n"]:
    """Return the cell, in [0, CELLS), that a unit direction falls into."""
    flat = directions / jnp.sum(jnp.abs(directions), -1, keepdims=True)
    x, y, z = flat[..., 0], flat[..., 1], flat[..., 2]
    sign = lambda value: jnp.where(value >= 0, 1.0, -1.0)
    folded_x = jnp.where(z < 0, (1 - jnp.abs(y)) * sign(x), x)
    folded_y = jnp.where(z < 0, (1 - jnp.abs(x)) * sign(y), y)
    row, column = (jnp.clip((0.5 * v + 0.5) * SIDE, 0, SIDE - 1).astype(jnp.int32) for v in (folded_y, folded_x))
    return row * SIDE + column


def information(camera: Camera, alpha: Float[Array, "H W"], weight: Float[Array, "H W"]) -> Float[Array, "cells"]:
    """Return what one view says about every cell, in units of 1 / noise^2.

    Args:
        camera: of the view.
        alpha: accumulated opacity.
        weight: per pixel in [0, 1]; 0 where the view says nothing about this scene.
    """
    through = 1 - alpha
    told = jnp.where(through > MOSTLY, weight * through**2, 0.0)
    # Pixels that say nothing go nowhere.
    cells = jnp.where(told > 0, cell_of(ray_directions(camera)), CELLS).reshape(-1)
    group = jnp.arange(cells.size, dtype=jnp.int32) % _GROUPS
    values = jnp.stack([jnp.round(told * _UNIT), told > 0], -1).reshape(-1, 2).astype(jnp.int32)
    sums = jnp.zeros((_GROUPS, CELLS, 2), jnp.int32).at[group, cells].add(values, mode="drop")
    total, count = jnp.sum(sums.astype(jnp.float32), 0).T
    return total / _UNIT / jnp.maximum(count, 1)


def posterior_std(precision: Float[Array, "cells"], prior: Float[ArrayLike, ""]) -> Float[Array, "cells"]:
    """Return the standard deviation of one channel, given that of the prior and what was observed."""
    return prior / jnp.sqrt(1 + prior**2 * jnp.maximum(precision, 0.0))


def look_up(std: Float[Array, "cells"], camera: Camera) -> Float[Array, "H W"]:
    """Return the standard deviation of the background behind every pixel of a view."""
    return std[cell_of(ray_directions(camera))]
