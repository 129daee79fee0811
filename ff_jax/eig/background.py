"""The posterior of the background color (the sky), per direction.

The background is a smooth function of the viewing direction. Its posterior is stored on an octahedral map (Cigolle et
al. 2014, JCGT 3(2)) of SIDE x SIDE cells of about 6 degrees. A cell is one unknown color. All pixels of one view in a
cell are one observation with their mean information, because their errors are correlated. Only pixels that show mostly
background count: in the others, background color and opacity in front of it cannot be separated. So a hole beside the
road keeps the prior, and an observed sky has a small variance.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Float, Int

from ff_jax.render.camera import Camera
from ff_jax.render.renderer import ray_directions

SIDE = 32
CELLS = SIDE * SIDE
MOSTLY = 0.5  # transmittance above which a pixel shows mostly background
# Fixed point in two parts, because integers add up to the same sum in any order. A weight of 1e-8 still counts: the sky
# of a well-fitted log has weights of 1e-4. A sum of a part stays below 2^31 for 2^16 pixels of a cell and group.
_COARSE, _FINE = 2.0**14, 2.0**29
_GROUPS = 64  # sums per cell: neighboring pixels mostly share a cell; atomic additions to it would serialize on a GPU


def cell_of(directions: Float[Array, "*n 3"]) -> Int[Array, "*n"]:
    """Find the cell, in [0, CELLS), of a unit direction."""
    flat = directions / jnp.sum(jnp.abs(directions), -1, keepdims=True)
    x, y, z = flat[..., 0], flat[..., 1], flat[..., 2]

    def sign(value: Array) -> Array:
        return jnp.where(value >= 0, 1.0, -1.0)

    folded_x = jnp.where(z < 0, (1 - jnp.abs(y)) * sign(x), x)
    folded_y = jnp.where(z < 0, (1 - jnp.abs(x)) * sign(y), y)
    row, column = (jnp.clip((0.5 * v + 0.5) * SIDE, 0, SIDE - 1).astype(jnp.int32) for v in (folded_y, folded_x))
    return row * SIDE + column


def information(camera: Camera, alpha: Float[Array, "H W"], weight: Float[Array, "H W"]) -> Float[Array, "cells"]:
    """Compute the information of one view about every cell, in units of 1 / noise^2.

    Args:
        camera: of the view.
        alpha: accumulated opacity.
        weight: per pixel in [0, 1]; 0 for pixels that do not show this scene.
    """
    transmittance = 1 - alpha
    pixel_information = jnp.where(transmittance > MOSTLY, weight * transmittance**2, 0.0)
    # Pixels without information are dropped: their index is out of range.
    cells = jnp.where(pixel_information > 0, cell_of(ray_directions(camera)), CELLS).reshape(-1)
    group = jnp.arange(cells.size, dtype=jnp.int32) % _GROUPS
    coarse = jnp.round(pixel_information * _COARSE)
    fine = jnp.round((pixel_information - coarse / _COARSE) * _FINE)
    values = jnp.stack([coarse, fine, pixel_information > 0], -1).reshape(-1, 3).astype(jnp.int32)
    sums = jnp.zeros((_GROUPS, CELLS, 3), jnp.int32).at[group, cells].add(values, mode="drop")
    coarse, fine, count = jnp.sum(sums.astype(jnp.float32), 0).T
    return (coarse / _COARSE + fine / _FINE) / jnp.maximum(count, 1)


def posterior_std(precision: Float[Array, "cells"], prior: Float[ArrayLike, ""]) -> Float[Array, "cells"]:
    """Compute the standard deviation of one channel from that of the prior and the information."""
    return jnp.divide(prior, jnp.sqrt(1 + prior**2 * jnp.maximum(precision, 0.0)))


def look_up(std: Float[Array, "cells"], camera: Camera) -> Float[Array, "H W"]:
    """Look up the standard deviation of the background at every pixel of a view."""
    return std[cell_of(ray_directions(camera))]
