"""Totals over the threads of a warp (Triton backend), many at once.

The total of one number over 32 threads takes five exchanges between threads. With many numbers, an exchange can move
half of them: a thread sends the numbers that the other half of the warp will total, and keeps the rest. Sixteen totals
then take 8 + 4 + 2 + 1 + 1 = 16 exchanges instead of 80, and every thread ends with one total to store.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental.pallas import triton
from jaxtyping import Float, Int

WARP = 32
Lanes = Float[Array, "32"]


def totals(values: list[Lanes]) -> list[tuple[Lanes, Int[Array, "32"]]]:
    """Compute the totals over a warp as pairs: a total in every thread, and the number of its value.

    Several threads may have the same total. For 32 values or fewer there is one pair.

    Args:
        values: each with one number per thread of a warp.
    """
    lane, offset = _lane(), WARP // 2
    pairs = [(value, jnp.full(WARP, k, jnp.int32)) for k, value in enumerate(values)]
    while offset:
        pairs = _halve(pairs, (lane & offset) != 0, offset)
        offset //= 2
    return pairs


def _halve(pairs: list, is_upper: Array, offset: int) -> list:
    """Sum over pairs of threads `offset` apart; of two values, the upper thread keeps the second."""
    half = (len(pairs) + 1) // 2
    results = []
    for k in range(half):
        value, number = pairs[k]
        if half + k < len(pairs):
            other, other_number = pairs[half + k]
            outgoing = jnp.where(is_upper, value, other)
            value, number = jnp.where(is_upper, other, value), jnp.where(is_upper, other_number, number)
        else:
            outgoing = value
        results.append((value + _exchange(outgoing, offset), number))
    return results


def _lane() -> Int[Array, "32"]:
    """Read the number of the thread in its warp, for any layout of vectors that the compiler chooses."""
    return _asm("mov.u32 $0, %laneid;", "=r,r", jnp.zeros(WARP, jnp.int32))


def _exchange(value: Lanes, offset: int) -> Lanes:
    """Read the value of the thread whose number differs by the bit `offset`."""
    return _asm(f"shfl.sync.bfly.b32 $0, $1, {offset}, 31, 0xffffffff;", "=r,r", value)


def _asm(code: str, constraints: str, value: Array) -> Array:
    """Run one PTX instruction in every thread."""
    shape = jax.ShapeDtypeStruct(value.shape, value.dtype)
    return triton.elementwise_inline_asm(
        code, args=[value], constraints=constraints, pack=1, result_shape_dtypes=[shape]
    )[0]
