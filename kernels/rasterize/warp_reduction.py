"""Totals over the threads of a warp (Triton backend), many at once.

The total of one number over 32 threads takes five exchanges between threads. Of many numbers, each exchange can move
half of them: a thread hands over what the other half of the warp will total, and keeps the rest. Sixteen totals then
take 8 + 4 + 2 + 1 + 1 = 16 exchanges instead of 80, and every thread ends with one total of its own to store.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental.pallas import triton
from jaxtyping import Float, Int

WARP = 32
Lanes = Float[Array, "32"]


def totals(values: list[Lanes]) -> list[tuple[Lanes, Int[Array, "32"]]]:
    """Return the totals over a warp as pairs: a total in every thread, and which value's it is.

    Several threads may hold the same total. For 32 values or fewer there is one pair.

    Args:
        values: one number per thread of a warp each.
    """
    lane, offset = _lane(), WARP // 2
    held = [(value, jnp.full(WARP, k, jnp.int32)) for k, value in enumerate(values)]
    while offset:
        held = _halve(held, (lane & offset) != 0, offset)
        offset //= 2
    return held


def _halve(held: list, upper: Array, offset: int) -> list:
    """Add up pairs of threads `offset` apart; of two values, the thread that is `upper` keeps the second."""
    half = (len(held) + 1) // 2
    kept = []
    for k in range(half):
        value, number = held[k]
        if half + k < len(held):
            other, other_number = held[half + k]
            handed = jnp.where(upper, value, other)
            value, number = jnp.where(upper, other, value), jnp.where(upper, other_number, number)
        else:
            handed = value
        kept.append((value + _exchange(handed, offset), number))
    return kept


def _lane() -> Int[Array, "32"]:
    """Return the number of the thread in its warp, wherever the compiler has put the elements of a vector."""
    return _asm("mov.u32 $0, %laneid;", "=r,r", jnp.zeros(WARP, jnp.int32))


def _exchange(value: Lanes, offset: int) -> Lanes:
    """Return the value of the thread whose number differs by the bit `offset`."""
    return _asm(f"shfl.sync.bfly.b32 $0, $1, {offset}, 31, 0xffffffff;", "=r,r", value)


def _asm(code: str, constraints: str, value: Array) -> Array:
    """Run one PTX instruction in every thread."""
    shape = jax.ShapeDtypeStruct(value.shape, value.dtype)
    return triton.elementwise_inline_asm(
        code, args=[value], constraints=constraints, pack=1, result_shape_dtypes=[shape]
    )[0]
