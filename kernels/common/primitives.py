"""What the primitives of all ops share: binding, evaluation, lowering, batching.

A primitive may run as a Pallas kernel, compiled on a GPU and interpreted elsewhere. Batching takes one element after
the other. Inside shard_map operands are cast to the union of the mesh axes they vary over.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def bind(primitive: Primitive, *operands: Array, **params: Any) -> list[Array]:
    """Bind, with operands cast to the union of the mesh axes that they vary over (inside shard_map)."""
    axes = frozenset().union(*map(_varying, operands))
    missing = [tuple(axes - _varying(x)) for x in operands]
    operands = [lax.pcast(x, m, to="varying") if m else x for x, m in zip(operands, missing, strict=True)]
    return primitive.bind(*operands, **params)


def _varying(x: Array) -> frozenset:
    """Return the manual mesh axes over which `x` varies."""
    kind = jax.typeof(x)
    return getattr(kind, "manual_axis_type", kind).varying


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

    def batch(args: tuple, dims: tuple, **params: Any) -> tuple[list, list]:
        where = [d is not None for d in dims]
        mapped = [jnp.moveaxis(a, d, 0) for a, d, w in zip(args, dims, where, strict=True) if w]

        def one(elements: list) -> list:
            rest = iter(elements)
            return bind(primitive, *(next(rest) if w else a for a, w in zip(args, where, strict=True)), **params)

        results = lax.map(one, mapped)
        return results, [0] * len(results)

    batching.primitive_batchers[primitive] = batch


def _without_manual_axes(rule: Callable) -> Callable:
    """Lower as if outside shard_map: all operands vary alike, so the types inside need not track it."""

    def lower(context: Any, *args: Any, **params: Any) -> Any:
        avals = [jax.core.ShapedArray(a.shape, a.dtype) for a in context.avals_in]
        return rule(context.replace(avals_in=avals), *args, **params)

    return lower


def zero(x: Array) -> ad.Zero:
    """Return the symbolic zero tangent of `x`."""
    return ad.Zero(jax.typeof(x).to_tangent_aval())
