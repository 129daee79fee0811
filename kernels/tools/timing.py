"""Wall-clock timing of jitted functions."""

import time
from collections.abc import Callable
from typing import Any

import jax


def time_ms(function: Callable, *args: Any, repeats: int = 20) -> float:
    """Measure the least time of one call in ms, after one call that compiles.

    On an accelerator the calls are queued and averaged, so that dispatch overlaps as in a training loop.
    """
    jax.block_until_ready(function(*args))
    if jax.default_backend() == "cpu":
        return min(_seconds(function, args, 1) for _ in range(repeats)) * 1e3
    return min(_seconds(function, args, repeats) for _ in range(3)) / repeats * 1e3


def _seconds(function: Callable, args: tuple, num_calls: int) -> float:
    """Measure the total time of some calls."""
    start, result = time.perf_counter(), None
    for _ in range(num_calls):
        result = function(*args)
    jax.block_until_ready(result)
    return time.perf_counter() - start
