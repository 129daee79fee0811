"""Scenes of one camera for benchmarks of rendering, and the timing of calls."""

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.baselines.sog import add_camera, read_sog
from experiments.cli import command_line
from ff_jax.render.gaussians import Gaussians
from kernels.project.specs import SCENE_NAMES, SceneSpec, make_scene, named_scene

REAL = "500k_real_1920x1080"  # splats of a captured object, from the assets folder
DEFAULT_SCENES = ("112k_1920x1080", "2.8m_1920x1080", REAL)
_SPLATS = "assets:data/splats_pretrained/playbot/0_0"
_BATCHES, _CALLS = 5, 20


def check_scenes(names: list[str], flag: str = "scenes") -> None:
    """Check that all scenes exist.

    Raises:
        ValueError: a scene is unknown, or its file does not exist.
    """
    for name in names:
        if name == REAL:
            continue
        try:
            named_scene(name)
        except ValueError:
            raise ValueError(f"invalid --{flag}={name}: expected some of {REAL}, {SCENE_NAMES}.") from None
    if REAL in names:
        command_line.log_path(_SPLATS)


def load_scene(name: str) -> tuple[SceneSpec, dict[str, np.ndarray]]:
    """Load the sizes and the arrays of a scene."""
    if name == REAL:
        splats = read_sog(Path(command_line.log_path(_SPLATS)))
        return SceneSpec(len(splats["means"]), 1920, 1080, sh_degree=2), add_camera(splats, 1920, 1080)
    spec = named_scene(name)
    return spec, make_scene(spec, np.random.default_rng(0))


def median_ms(
    call: Callable[[], Any], wait: Callable[[Any], Any], batches: int = _BATCHES, calls: int = _CALLS
) -> float:
    """Measure the time of a queued call in ms: the median over batches of the mean in each, after warm-up."""
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


def with_state(run: Callable[..., tuple[Any, Any]], state: Any) -> Callable[..., tuple[Any, Any]]:
    """Wrap run(state, ...) -> (result, state): each call gets the state of the last one, which may be donated."""
    last = [state]

    def call(*inputs: Any) -> tuple[Any, Any]:
        result, last[0] = run(last[0], *inputs)
        return result, last[0]

    return call


def to_gaussians(arrays: Mapping[str, jax.Array]) -> Gaussians:
    """Convert the activated arrays of a scene to trainable Gaussians."""
    logits = jnp.log(arrays["opacities"] / (1 - arrays["opacities"]))
    return Gaussians(arrays["means"], arrays["quats"], jnp.log(arrays["scales"]), logits, arrays["sh"])


def round_up(count: int, unit: int) -> int:
    """Round up to a multiple of `unit` that is at least an eighth larger."""
    return -(-max(count, 1) * 9 // 8 // unit) * unit


def memory_mb(program: jax.stages.Compiled) -> float:
    """Read the device memory of a compiled program, MB: arguments, results and temporaries; shared bytes count once."""
    memory = program.memory_analysis()
    total = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return (total - memory.alias_size_in_bytes) / 1e6
