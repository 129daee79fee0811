"""Differentiation rules of `rasterize`, the same for every implementation.

Three primitives on a table (N, F) of packed Gaussians and an image (H, W, C + 1) of features and alpha:

    forward(table, bins)                       -> image, saved    saved: what an implementation wants back
    tangent(table, image, saved, dtable, bins) -> dimage          linear in dtable; transposes to adjoint
    adjoint(table, image, saved, v, bins)      -> vtable          linear in v; transposes to tangent

A custom_vjp would forbid forward mode and a custom_jvp of a Pallas kernel cannot be transposed; with a
primitive of its own for the linear map, grad, jvp, linearize, vmap over anything, jacfwd, checkpoint, scan
and shard_map all follow. Derivatives of the linear maps with respect to the table (second derivatives) are
not implemented and say so.
"""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import ad
from jaxtyping import Float

from kernels.bin_tiles.types import Bins
from kernels.common.primitives import bind, define, zero
from kernels.rasterize import pallas_gpu, xla
from kernels.rasterize.alpha_blending import ALPHA_MIN, GEOMETRY
from kernels.rasterize.config import RasterConfig
from kernels.rasterize.gpu_backends import Mosaic, Triton

FORWARD = Primitive("rasterize_forward")
TANGENT = Primitive("rasterize_tangent")
ADJOINT = Primitive("rasterize_adjoint")


def forward(
    table: Float[Array, "N F"],
    bins: Bins,
    *,
    width: int,
    height: int,
    tile: int,
    implementation: str,
    config: RasterConfig | None = None,
) -> tuple[Float[Array, "H W C_and_alpha"], Float[Array, "..."]]:
    """Rasterize packed Gaussians (mean2d, conic, opacity, features) with differentiable primitives.

    Args:
        table: one row per Gaussian.
        bins: their lists.
        width: pixels.
        height: pixels.
        tile: side of a tile, pixels.
        implementation: "xla", "pallas" or "mosaic".
        config: block sizes of the kernels; None takes the best known.

    Returns:
        Features with, last, the accumulated alpha; and what the implementation saved for its other walks.
    """
    how = {"implementation": implementation, "config": config}
    return tuple(bind(FORWARD, table, *bins, width=width, height=height, tile=tile, **how))


# ---- what runs


def _module(implementation: str, config: RasterConfig | None, interpret: bool) -> Any:
    """Return the object with the functions saved_shape, forward, tangent and adjoint."""
    if implementation == "xla":
        return xla
    return pallas_gpu.Kernels(Mosaic() if implementation == "mosaic" else Triton(interpret), config)


def _forward(
    table: Array, *bins: Array, interpret: bool, implementation: str, config: RasterConfig | None, **size: int
) -> list[Array]:
    return list(_module(implementation, config, interpret).forward(table, Bins(*bins), **size))


def _tangent(
    table: Array,
    image: Array,
    saved: Array,
    dtable: Array,
    *bins: Array,
    interpret: bool,
    implementation: str,
    config: RasterConfig | None,
    **size,
) -> list[Array]:
    return [_module(implementation, config, interpret).tangent(table, saved, dtable, Bins(*bins), **size)]


def _adjoint(
    table: Array,
    image: Array,
    saved: Array,
    v: Array,
    *bins: Array,
    interpret: bool,
    implementation: str,
    config: RasterConfig | None,
    **size,
) -> list[Array]:
    return [_module(implementation, config, interpret).adjoint(table, image, saved, v, Bins(*bins), **size)]


# ---- shapes: updated from an operand, which keeps its sharding and manual axes


def _forward_shapes(
    table: Any,
    *bins: Any,
    width: int,
    height: int,
    tile: int,
    implementation: str,
    config: RasterConfig | None,
) -> list:
    channels = table.shape[1] - GEOMETRY + 1
    saved = _module(implementation, config, True).saved_shape(bins[0].shape[0], channels, width, height, tile)
    return [table.update(shape=(height, width, channels)), table.update(shape=saved)]


define(FORWARD, _forward, _forward_shapes)
define(TANGENT, _tangent, lambda table, image, *_, **__: [image])
define(ADJOINT, _adjoint, lambda table, *_, **__: [table])


# ---- differentiation


def _forward_jvp(primals: tuple, tangents: tuple, **params: Any) -> tuple[list, list]:
    image, saved = bind(FORWARD, *primals, **params)
    table, *bins = primals
    if type(tangents[0]) is ad.Zero:
        return [image, saved], [zero(image), zero(saved)]
    # The linear maps take the logarithm of the opacity: its derivative is what a walk has at hand.
    opacity = table[:, 5]
    per_log = jnp.where(opacity >= ALPHA_MIN, 1 / jnp.maximum(opacity, ALPHA_MIN), 0.0)
    dtable = tangents[0] * jnp.ones_like(table).at[:, 5].set(per_log)
    (dimage,) = bind(TANGENT, table, image, saved, dtable, *bins, **params)
    return [image, saved], [dimage, zero(saved)]


def _linear_rules(primitive: Primitive, transposed: Primitive) -> None:
    """Make `primitive` linear in operand 3 only, with `transposed` as its transpose."""

    def jvp(primals: tuple, tangents: tuple, **params: Any) -> tuple[list, list]:
        if any(type(t) is not ad.Zero for i, t in enumerate(tangents) if i != 3):
            raise NotImplementedError(
                "rasterize has no second derivatives: use implementation='reference', or stop_gradient"
            )
        result = bind(primitive, *primals, **params)
        tangent = tangents[3]
        if type(tangent) is ad.Zero:
            return result, [zero(r) for r in result]
        return result, bind(primitive, *primals[:3], tangent, *primals[4:], **params)

    def transpose(cotangents: list, *operands: Any, **params: Any) -> list:
        (cotangent,) = cotangents
        results = [None] * len(operands)
        if type(cotangent) is not ad.Zero:
            (results[3],) = bind(transposed, *operands[:3], cotangent, *operands[4:], **params)
        return results

    ad.primitive_jvps[primitive] = jvp
    ad.primitive_transposes[primitive] = transpose


ad.primitive_jvps[FORWARD] = _forward_jvp
_linear_rules(TANGENT, ADJOINT)
_linear_rules(ADJOINT, TANGENT)
