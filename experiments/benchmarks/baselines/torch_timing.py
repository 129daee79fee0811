"""How the PyTorch peers of the generators are timed."""

import time
from collections.abc import Callable
from typing import Any

import torch


def measure(call: Callable[[], Any], repeats: int, device: str) -> dict[str, float]:
    """Return the least time (ms) of a call and the peak memory (GiB)."""
    seconds, wait = [], torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(repeats + 2):  # the first ones compile and warm up
        start = time.perf_counter()
        call()
        wait()
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0
    return {"ms": round(1e3 * min(seconds[2:]), 3), "first_s": round(seconds[0], 2), "peak_gib": round(peak, 3)}
