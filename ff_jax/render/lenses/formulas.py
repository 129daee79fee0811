"""Formulas that lens models share: polynomials, OpenCV's distortion, and the inverse of an increasing function."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, PyTree

BISECTIONS, NEWTON_STEPS = 12, 3  # halve the interval to 1/4096 of it; then the error is squared at every step
GRID = 1000  # places at which a function is tested for its first fold


def polynomial(coefficients: Sequence[Any], x: Any) -> Any:
    """Evaluate sum_i coefficients[i] x^i by Horner's rule; for numbers and arrays of any library."""
    *rest, value = coefficients
    for coefficient in reversed(rest):
        value = coefficient + x * value
    return value


def distort_opencv(
    x: Any,
    y: Any,
    radial: tuple[Sequence[Any], Sequence[Any]],
    tangential: Sequence[Any],
    thin_prism: tuple[Sequence[Any], Sequence[Any]],
) -> tuple[Any, Any]:
    """Distort normalized image coordinates by the model of OpenCV; for numbers and arrays of any library.

    Args:
        x: x / z.
        y: y / z.
        radial: coefficients of r^2, r^4, ... in the numerator and in the denominator; no denominator if it is empty.
        tangential: p1, p2.
        thin_prism: coefficients of r^2, r^4, ... that are added to x, and to y.
    """
    numerator, denominator = radial
    p1, p2 = tangential
    r2 = x * x + y * y
    factor = polynomial((1, *numerator), r2)
    if denominator:
        factor = factor / polynomial((1, *denominator), r2)
    prism_x, prism_y = (r2 * polynomial(coefficients, r2) for coefficients in thin_prism)
    return (
        x * factor + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + prism_x,
        y * factor + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + prism_y,
    )


def first_fold(function: Callable[[Array], Array], limit: Float[Array, ""]) -> Float[Array, ""]:
    """Find, on a grid over [0, limit], where an increasing function first stops to increase; `limit` if nowhere.

    Differentiable in `limit` only: the place of a fold is constant.
    """
    grid = jnp.linspace(0.0, 1.0, GRID) * lax.stop_gradient(limit)
    values = function(grid)
    is_fold = ~(values[1:] > values[:-1])  # also where they are not finite
    return jnp.where(jnp.any(is_fold), grid[jnp.argmax(is_fold)], limit)


def invert_increasing(
    function: Callable[[PyTree, Array], Array],
    parameters: PyTree,
    value: Float[Array, "*n"],
    limit: Float[Array, ""],
    start: Float[Array, "*n"] | None = None,
) -> Float[Array, "*n"]:
    """Find x in [0, limit] with function(parameters, x) = value, elementwise; the nearer end for values out of range.

    Differentiable in `value` and `parameters`: one Newton step from the solution has its derivative.

    Args:
        function: increasing in x on [0, limit].
        parameters: of the function.
        value: to invert.
        limit: end of the interval.
        start: approximate solution; None finds one by bisection.
    """

    def newton(parameters: PyTree, x: Array, value: Array) -> Array:
        result, slope = jax.jvp(lambda x: function(parameters, x), (x,), (jnp.ones_like(x),))
        return jnp.clip(x + (value - result) / jnp.maximum(slope, 1e-6), 0.0, limit)

    fixed, constant, limit = lax.stop_gradient((parameters, value, limit))
    x = _bisect(partial(function, fixed), constant, limit) if start is None else lax.stop_gradient(start)
    x = lax.fori_loop(0, NEWTON_STEPS, lambda _, x: newton(fixed, x, constant), jnp.clip(x, 0.0, limit))
    return newton(parameters, x, value)


def _bisect(function: Callable[[Array], Array], value: Float[Array, "*n"], limit: Array) -> Float[Array, "*n"]:
    """Find the middle of an interval of 2^-BISECTIONS of `limit` that has the solution in it."""

    def halve(_: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        low, width = state
        return jnp.where(function(low + width) < value, low + width, low), 0.5 * width

    low, width = lax.fori_loop(0, BISECTIONS, halve, (jnp.zeros_like(value), 0.5 * limit))
    return low + width
