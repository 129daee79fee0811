"""Binding, evaluation, lowering and batching of the primitives of all ops.

A primitive may run as a Pallas kernel, compiled on a GPU and interpreted elsewhere. Batching runs one element after
the other. Inside shard_map, operands are cast to the union of the mesh axes that they vary over.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, core, lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def bind(primitive: Primitive, *operands: Array, **params: Any) -> list[Array]:
    """Bind, with operands cast to the union of the mesh axes that they vary over (inside shard_map)."""
    axes = frozenset().union(*map(_varying_axes, operands))
    missing = [tuple(axes - _varying_axes(x)) for x in operands]
    cast = [lax.pcast(x, m, to="varying") if m else x for x, m in zip(operands, missing, strict=True)]
    return primitive.bind(*cast, **params)


def _varying_axes(x: Array) -> frozenset:
    """Return the manual mesh axes over which `x` varies."""
    aval = jax.typeof(x)
    return getattr(aval, "manual_axis_type", aval).varying


def define(primitive: Primitive, run: Callable, shapes: Callable) -> None:
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
    batching.primitive_batchers[primitive] = functools.partial(_batch, primitive)


def _batch(primitive: Primitive, args: Sequence, dims: Sequence, **params: Any) -> tuple[list, list]:
    """Bind once per element of a batch; operands without a batch dimension are shared."""
    is_mapped = [d is not None for d in dims]
    mapped = [jnp.moveaxis(a, d, 0) for a, d, m in zip(args, dims, is_mapped, strict=True) if m]

    def bind_element(elements: list) -> list:
        rest = iter(elements)
        return bind(primitive, *(next(rest) if m else a for a, m in zip(args, is_mapped, strict=True)), **params)

    results = lax.map(bind_element, mapped)
    return results, [0] * len(results)


def _without_manual_axes(rule: Callable) -> Callable:
    """Lower as if outside shard_map: all operands vary alike, so the types inside need not track it."""

    def lower(context: Any, *args: Any, **params: Any) -> Any:
        avals = [core.ShapedArray(a.shape, a.dtype) for a in context.avals_in]
        return rule(context.replace(avals_in=avals), *args, **params)

    return lower


def zero_tangent(x: Array) -> ad.Zero:
    """Return the symbolic zero tangent of `x`."""
    return ad.Zero(jax.typeof(x).to_tangent_aval())
