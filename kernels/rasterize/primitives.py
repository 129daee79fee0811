"""Differentiation rules of `rasterize`, the same for every implementation.

Three primitives on a table (N, F) of packed Gaussians and an image (H, W, C + 1) of features and alpha:

    forward(table, bins)                       -> image, saved    saved: residuals of the implementation
    tangent(table, image, saved, dtable, bins) -> dimage          linear in dtable; transposes to adjoint
    adjoint(table, image, saved, v, bins)      -> vtable          linear in v; transposes to tangent

A custom_vjp would forbid forward mode and a custom_jvp of a Pallas kernel cannot be transposed. With a
primitive for the linear map, grad, jvp, linearize, vmap over anything, jacfwd, checkpoint, scan and shard_map
all follow. Derivatives of the linear maps with respect to the table (second derivatives) raise
NotImplementedError.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import ad
from jaxtyping import Float

from kernels.bin_tiles.types import Bins, TileGrid
from kernels.common.constants import ALPHA_MIN
from kernels.common.primitives import bind, define, zero_tangent
from kernels.rasterize import pallas_gpu, xla
from kernels.rasterize.alpha_blending import FOOTPRINT_COLUMNS
from kernels.rasterize.config import RasterConfig
from kernels.rasterize.gpu_backends import Mosaic, Triton

FORWARD = Primitive("rasterize_forward")
TANGENT = Primitive("rasterize_tangent")
ADJOINT = Primitive("rasterize_adjoint")


def forward(
    table: Float[Array, "N F"], bins: Bins, *, implementation: str, config: RasterConfig | None = None
) -> tuple[Float[Array, "H W C_and_alpha"], Float[Array, "..."]]:
    """Rasterize a `splat_table` with differentiable primitives.

    Args:
        table: one row per Gaussian.
        bins: their lists.
        implementation: "xla", "pallas" or "mosaic".
        config: block sizes of the kernels; None takes those measured on the device, if any were.

    Returns:
        Features with, last, the accumulated alpha; and the residuals of the implementation.
    """
    image, saved = bind(FORWARD, table, *bins.arrays, grid=bins.grid, implementation=implementation, config=config)
    return image, saved


# ---- evaluation


def _module(implementation: str, config: RasterConfig | None, interpret: bool) -> Any:
    """Select the object with the functions saved_shape, forward, tangent and adjoint."""
    if implementation == "xla":
        return xla
    return pallas_gpu.Kernels(Mosaic() if implementation == "mosaic" else Triton(interpret), config)


def _forward(table: Array, *bins: Array, grid: TileGrid, **how: Any) -> list[Array]:
    return list(_module(**how).forward(table, Bins(*bins, grid=grid)))


def _tangent(
    table: Array, image: Array, saved: Array, dtable: Array, *bins: Array, grid: TileGrid, **how: Any
) -> list[Array]:
    return [_module(**how).tangent(table, saved, dtable, Bins(*bins, grid=grid))]


def _adjoint(
    table: Array, image: Array, saved: Array, v: Array, *bins: Array, grid: TileGrid, **how: Any
) -> list[Array]:
    return [_module(**how).adjoint(table, image, saved, v, Bins(*bins, grid=grid))]


# ---- shapes: updated from an operand, which keeps its sharding and manual axes


def _forward_shapes(table: Any, *bins: Any, grid: TileGrid, implementation: str, config: RasterConfig | None) -> list:
    channels = table.shape[1] - FOOTPRINT_COLUMNS + 1
    saved = _module(implementation, config, True).saved_shape(bins[0].shape[0], channels, grid)
    return [table.update(shape=(grid.height, grid.width, channels)), table.update(shape=saved)]


define(FORWARD, _forward, _forward_shapes)
define(TANGENT, _tangent, lambda table, image, *_, **__: [image])
define(ADJOINT, _adjoint, lambda table, *_, **__: [table])


# ---- differentiation


def _forward_jvp(primals: Sequence, tangents: Sequence, **params: Any) -> tuple[list, list]:
    image, saved = bind(FORWARD, *primals, **params)
    table, *bins = primals
    if type(tangents[0]) is ad.Zero:
        return [image, saved], [zero_tangent(image), zero_tangent(saved)]
    # The linear maps take the logarithm of the opacity: a walk computes the derivative with respect to it.
    opacity = table[:, 5]
    per_log = jnp.where(opacity >= ALPHA_MIN, 1 / jnp.maximum(opacity, ALPHA_MIN), 0.0)
    dtable = tangents[0] * jnp.ones_like(table).at[:, 5].set(per_log)
    (dimage,) = bind(TANGENT, table, image, saved, dtable, *bins, **params)
    return [image, saved], [dimage, zero_tangent(saved)]


def _linear_rules(primitive: Primitive, transposed: Primitive) -> None:
    """Register `primitive` as linear in operand 3 only, with `transposed` as its transpose."""

    def jvp(primals: Sequence, tangents: Sequence, **params: Any) -> tuple[list, list]:
        if any(type(t) is not ad.Zero for i, t in enumerate(tangents) if i != 3):
            raise NotImplementedError(
                "rasterize has no second derivatives: use implementation='reference' or stop_gradient"
            )
        result = bind(primitive, *primals, **params)
        tangent = tangents[3]
        if type(tangent) is ad.Zero:
            return result, [zero_tangent(r) for r in result]
        return result, bind(primitive, *primals[:3], tangent, *primals[4:], **params)

    def transpose(cotangents: Sequence, *operands: Any, **params: Any) -> list:
        (cotangent,) = cotangents
        results: list[Array | None] = [None] * len(operands)
        if type(cotangent) is not ad.Zero:
            (results[3],) = bind(transposed, *operands[:3], cotangent, *operands[4:], **params)
        return results

    ad.primitive_jvps[primitive] = jvp
    ad.primitive_transposes[primitive] = transpose


ad.primitive_jvps[FORWARD] = _forward_jvp
_linear_rules(TANGENT, ADJOINT)
_linear_rules(ADJOINT, TANGENT)
