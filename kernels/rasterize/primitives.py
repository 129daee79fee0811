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

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Float

from kernels.bin_tiles.types import Bins
from kernels.rasterize import pallas_gpu, xla
from kernels.rasterize.blend import ALPHA_MIN, GEOMETRY

FORWARD = Primitive("rasterize_forward")
TANGENT = Primitive("rasterize_tangent")
ADJOINT = Primitive("rasterize_adjoint")


def rasterize_table(
    table: Float[Array, "N F"], bins: Bins, *, width: int, height: int, tile: int, implementation: str
) -> Float[Array, "H W C_and_alpha"]:
    """Rasterize packed Gaussians (mean2d, conic, opacity, features) with differentiable primitives."""
    image, _ = _bind(FORWARD, table, *bins, width=width, height=height, tile=tile, implementation=implementation)
    return image


def _bind(primitive: Primitive, *operands: Array, **params: Any) -> list[Array]:
    """Bind, with operands cast to the union of the mesh axes that they vary over (inside shard_map)."""
    axes = frozenset().union(*map(_varying, operands))
    missing = [tuple(axes - _varying(x)) for x in operands]
    operands = [lax.pcast(x, m, to="varying") if m else x for x, m in zip(operands, missing, strict=True)]
    return primitive.bind(*operands, **params)


def _varying(x: Array) -> frozenset:
    """Return the manual mesh axes over which `x` varies."""
    kind = jax.typeof(x)
    return getattr(kind, "manual_axis_type", kind).varying


# ---- what runs


def _module(implementation: str, interpret: bool) -> Any:
    """Return the object with the functions saved_shape, forward, tangent and adjoint."""
    return xla if implementation == "xla" else pallas_gpu.Kernels(interpret)


def _forward(table: Array, *bins: Array, interpret: bool, implementation: str, **size: int) -> list[Array]:
    return list(_module(implementation, interpret).forward(table, Bins(*bins), **size))


def _tangent(
    table: Array,
    image: Array,
    saved: Array,
    dtable: Array,
    *bins: Array,
    interpret: bool,
    implementation: str,
    **size,
) -> list[Array]:
    return [_module(implementation, interpret).tangent(table, saved, dtable, Bins(*bins), **size)]


def _adjoint(
    table: Array,
    image: Array,
    saved: Array,
    v: Array,
    *bins: Array,
    interpret: bool,
    implementation: str,
    **size,
) -> list[Array]:
    return [_module(implementation, interpret).adjoint(table, image, saved, v, Bins(*bins), **size)]


# ---- shapes: updated from an operand, which keeps its sharding and manual axes


def _forward_shapes(table: Any, *bins: Any, width: int, height: int, tile: int, implementation: str) -> list:
    channels = table.shape[1] - GEOMETRY + 1
    saved = _module(implementation, True).saved_shape(bins[0].shape[0], channels, width, height, tile)
    return [table.update(shape=(height, width, channels)), table.update(shape=saved)]


def _define(primitive: Primitive, run: Callable, shapes: Callable) -> None:
    """Register evaluation, shapes, lowering per platform and batching (one element after the other)."""
    primitive.multiple_results = True

    @functools.lru_cache(maxsize=64)
    def compiled(**params: Any) -> Callable:
        return jax.jit(functools.partial(primitive.bind, **params))

    primitive.def_impl(lambda *args, **params: compiled(**params)(*args))
    primitive.def_abstract_eval(shapes)
    for platform, interpret in ((None, True), ("cuda", False)):
        rule = mlir.lower_fun(functools.partial(run, interpret=interpret), multiple_results=True)
        mlir.register_lowering(primitive, _without_manual_axes(rule), platform=platform)

    def batch(args: tuple, dims: tuple, **params: Any) -> tuple[list, list]:
        where = [d is not None for d in dims]
        mapped = [jnp.moveaxis(a, d, 0) for a, d, w in zip(args, dims, where, strict=True) if w]

        def one(elements: list) -> list:
            rest = iter(elements)
            return _bind(primitive, *(next(rest) if w else a for a, w in zip(args, where, strict=True)), **params)

        results = lax.map(one, mapped)
        return results, [0] * len(results)

    batching.primitive_batchers[primitive] = batch


def _without_manual_axes(rule: Callable) -> Callable:
    """Lower as if outside shard_map: all operands vary alike, so the types inside need not track it."""

    def lower(context: Any, *args: Any, **params: Any) -> Any:
        avals = [jax.core.ShapedArray(a.shape, a.dtype) for a in context.avals_in]
        return rule(context.replace(avals_in=avals), *args, **params)

    return lower


_define(FORWARD, _forward, _forward_shapes)
_define(TANGENT, _tangent, lambda table, image, *_, **__: [image])
_define(ADJOINT, _adjoint, lambda table, *_, **__: [table])


# ---- differentiation


def _zero(x: Array) -> ad.Zero:
    """Return the symbolic zero tangent of `x`."""
    return ad.Zero(jax.typeof(x).to_tangent_aval())


def _forward_jvp(primals: tuple, tangents: tuple, **params: Any) -> tuple[list, list]:
    image, saved = _bind(FORWARD, *primals, **params)
    table, *bins = primals
    if type(tangents[0]) is ad.Zero:
        return [image, saved], [_zero(image), _zero(saved)]
    # The linear maps take the logarithm of the opacity: its derivative is what a walk has at hand.
    opacity = table[:, 5]
    per_log = jnp.where(opacity >= ALPHA_MIN, 1 / jnp.maximum(opacity, ALPHA_MIN), 0.0)
    dtable = tangents[0] * jnp.ones_like(table).at[:, 5].set(per_log)
    (dimage,) = _bind(TANGENT, table, image, saved, dtable, *bins, **params)
    return [image, saved], [dimage, _zero(saved)]


def _linear_rules(primitive: Primitive, transposed: Primitive) -> None:
    """Make `primitive` linear in operand 3 only, with `transposed` as its transpose."""

    def jvp(primals: tuple, tangents: tuple, **params: Any) -> tuple[list, list]:
        if any(type(t) is not ad.Zero for i, t in enumerate(tangents) if i != 3):
            raise NotImplementedError(
                "rasterize has no second derivatives: use implementation='reference', or stop_gradient"
            )
        result = _bind(primitive, *primals, **params)
        tangent = tangents[3]
        if type(tangent) is ad.Zero:
            return result, [_zero(r) for r in result]
        return result, _bind(primitive, *primals[:3], tangent, *primals[4:], **params)

    def transpose(cotangents: list, *operands: Any, **params: Any) -> list:
        (cotangent,) = cotangents
        results = [None] * len(operands)
        if type(cotangent) is not ad.Zero:
            (results[3],) = _bind(transposed, *operands[:3], cotangent, *operands[4:], **params)
        return results

    ad.primitive_jvps[primitive] = jvp
    ad.primitive_transposes[primitive] = transpose


ad.primitive_jvps[FORWARD] = _forward_jvp
_linear_rules(TANGENT, ADJOINT)
_linear_rules(ADJOINT, TANGENT)
