"""List, for every tile of the image, the Gaussians that touch it."""

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from kernels.bin_tiles import reference, xla
from kernels.bin_tiles.primitives import bin_primitive
from kernels.bin_tiles.types import Bins
from kernels.common.implementation import choose

_RUN = {"reference": reference.bin_tiles, "xla": xla.bin_tiles, "mosaic": xla.bin_tiles}


def bin_tiles(
    mean2d: Float[Array, "N 2"],
    conic: Float[Array, "N 3"],
    opacity: Float[Array, "N"],
    extent: Float[Array, "N 2"],
    depth: Float[Array, "N"],
    *,
    width: int,
    height: int,
    tile: int = 16,
    capacity: int,
    part: int | Int[Array, ""] = 0,
    parts: int = 1,
    implementation: str | None = None,
) -> Bins:
    """List the Gaussians whose ellipse alpha >= 1/255 covers a pixel centre of a tile, front to back.

    The test is exact up to a hundredth of a pixel, on the generous side. Equal depths keep the order of the
    input. Not differentiable: gradients stop here.

    Args:
        mean2d: px.
        conic: inverse 2-D covariance (a, b, c), 1/px^2.
        opacity: [0, 1); at most 1/255 means culled.
        extent: px, half-size of the box outside which alpha < 1/255; 0 means culled.
        depth: metres.
        width: image width, pixels.
        height: image height, pixels.
        tile: side of a tile, pixels; the same as for the op that reads the lists.
        capacity: number of (Gaussian, tile) intersections there is room for. If the returned `needed` is
            larger, the hindmost were dropped: call again with at least that much.
        part: of the tile rows, only those whose number is `part` modulo `parts` get lists; may be traced.
        parts: every how manieth tile row gets lists; the others' are empty.
        implementation: None, "reference" (dense, small scenes), "xla" (also for "mosaic") or "pallas"
            (interpreted on a CPU).

    Raises:
        ValueError: for an unknown implementation, an empty image, or a tile, capacity or `parts` under 1.
    """
    name = choose(implementation)
    if min(width, height, tile, capacity, parts) < 1:
        raise ValueError(f"{width=}, {height=}, {tile=}, {capacity=} and {parts=} must all be at least 1")
    arrays = [lax.stop_gradient(a) for a in (mean2d, conic, opacity, extent, depth)]
    N = mean2d.shape[0]
    if N == 0:  # one culled Gaussian stands in: nothing can be gathered from an empty table
        arrays = [jnp.zeros((1, *a.shape[1:]), a.dtype) for a in arrays]
    size = {"width": width, "height": height, "tile": tile, "capacity": capacity, "parts": parts}
    if name == "pallas":
        bins = bin_primitive(*arrays, jnp.asarray(part, jnp.int32), **size)
    else:
        bins = _RUN[name](*arrays, part=part, **size)
    return bins._replace(order=bins.order[:N], first=bins.first[:N], last=bins.last[:N])
