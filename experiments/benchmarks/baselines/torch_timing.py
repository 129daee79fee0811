"""Timing of the PyTorch baselines of the fixers."""

import time
from collections.abc import Callable
from typing import Any

import torch


def measure(call: Callable[[], Any], repeats: int, device: str) -> dict[str, float]:
    """Measure the least time (ms) of a call, the time of the first one (s) and the peak memory (GiB)."""
    seconds, is_cuda = [], device == "cuda"
    for _ in range(repeats + 2):  # the first two calls compile and warm up
        start = time.perf_counter()
        call()
        if is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() / 2**30 if is_cuda else 0.0
    return {"ms": round(1e3 * min(seconds[2:]), 3), "first_s": round(seconds[0], 2), "peak_gib": round(peak, 3)}
