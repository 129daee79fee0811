"""What benchmarks of rendering share: scenes of one camera, and how a call is timed."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.baselines.sog import facing, read_sog
from kernels.project.specs import KNOWN, SceneSpec, make_scene, named

REAL = "500k_real_1920x1080"  # splats of a captured object, from the assets folder
PARAMETERS = ("means", "quats", "scales", "opacities", "sh")  # of a scene, that gradients are taken of
USUAL = ("112k_1920x1080", "2.8m_1920x1080", REAL)
_SPLATS = "assets:data/splats_pretrained/playbot/0_0"
_BATCHES, _CALLS = 5, 20


def check_scenes(names: list[str], flag: str = "scenes") -> None:
    """Raise ValueError unless all scenes exist and what they are read from is there."""
    for name in names:
        if name == REAL:
            continue
        try:
            named(name)
        except ValueError:
            raise ValueError(f"--{flag}={name} is unknown: use some of {REAL}, {KNOWN}.") from None
    if REAL in names:
        flags.log_path(_SPLATS)


def load(name: str) -> tuple[SceneSpec, dict[str, np.ndarray]]:
    """Return the image size and counts, and the arrays, of a scene."""
    if name == REAL:
        splats = read_sog(Path(flags.log_path(_SPLATS)))
        return SceneSpec(len(splats["means"]), 1920, 1080, sh_degree=2), facing(splats, 1920, 1080)
    spec = named(name)
    return spec, make_scene(spec, np.random.default_rng(0))


def median_ms(
    call: Callable[[], Any], wait: Callable[[Any], Any], batches: int = _BATCHES, calls: int = _CALLS
) -> float:
    """Return the median over batches of the mean time of one queued call, ms, after warm-up."""
    wait(call())
    wait(call())
    times = []
    for _ in range(batches):
        start = time.perf_counter()
        for _ in range(calls):
            result = call()
        wait(result)
        times.append((time.perf_counter() - start) / calls * 1e3)
    return statistics.median(times)


def in_place(run: Callable[..., tuple[Any, Any]], state: Any) -> Callable[..., tuple[Any, Any]]:
    """Return a call of run(state, ...) -> (result, state) that hands over its state, which `run` may be donated."""
    held = [state]

    def call(*inputs: Any) -> tuple[Any, Any]:
        result, held[0] = run(held[0], *inputs)
        return result, held[0]

    return call
