"""Shared by the benchmarks of fixer networks: random weights, time and memory of a call, processes of baselines."""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from kernels.tools.timing import time_ms


def random_params(shapes: PyTree[jax.ShapeDtypeStruct]) -> PyTree:
    """Make random bfloat16 parameters; all blocks of a stack are equal, which saves host memory.

    All arrays repeat the same million numbers: compiling a sampler for every shape would take minutes.
    """
    numbers = np.random.default_rng(0).standard_normal(1 << 20, np.float32)

    def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name.endswith("scale"):
            return jnp.ones(leaf.shape, jnp.bfloat16)
        shape = leaf.shape[1:] if name.startswith("blocks") else leaf.shape
        values = np.resize((numbers / math.prod(shape[:-1]) ** 0.5).astype(jnp.bfloat16), shape)
        return jnp.array(jnp.broadcast_to(values, leaf.shape))

    return jax.tree_util.tree_map_with_path(fill, shapes)


def peak_gib(devices: int = 1) -> float:
    """Read the largest peak memory of the first devices in GiB; 0 where the backend does not report it."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()[:devices]]
    return max(entry.get("peak_bytes_in_use", 0) for entry in stats) / 2**30


def measure(function: Callable, *args: Any, repeats: int) -> dict[str, float]:
    """Measure time (ms), compile time (s), peak memory and the memory that the compiler plans (GiB) of a call."""
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*args).compile()
    seconds, plan = time.perf_counter() - start, compiled.memory_analysis()
    milliseconds = time_ms(compiled, *args, repeats=repeats)
    planned = plan.argument_size_in_bytes + plan.temp_size_in_bytes + plan.output_size_in_bytes if plan else 0
    figures = {"ms": milliseconds, "compile_s": seconds, "planned_gib": planned / 2**30, "peak_gib": peak_gib()}
    return round_figures(figures)


def round_figures(figures: Mapping[str, float]) -> dict[str, float]:
    """Round to four significant digits."""
    return {name: float(f"{value:.4g}") for name, value in figures.items()}


def run_baseline(module: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run a module of `experiments.benchmarks.baselines` with these flags; return its figures, or its error."""
    command = [sys.executable, "-m", f"experiments.benchmarks.baselines.{module}"]
    command += [f"--{name}={value}" for name, value in arguments.items()]
    process = subprocess.run(command, capture_output=True, text=True)
    output, errors = process.stdout.strip().splitlines(), process.stderr.strip().splitlines()
    figures = json.loads(output[-1]) if output else {}
    return figures | ({} if process.returncode == 0 else {"error": errors[-1] if errors else "no output"})
