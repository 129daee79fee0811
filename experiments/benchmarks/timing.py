"""What the benchmarks of the generators share: random weights, time and memory of a call, and the peer's process."""

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

from kernels.common.timing import time_ms


def random_params(shapes: PyTree) -> PyTree:
    """Return random 16-bit parameters; the blocks of a stack are alike, which saves memory on the host.

    All are cut from the same million of numbers: compiling a draw for every shape would take minutes.
    """
    drawn = np.random.default_rng(0).standard_normal(1 << 20, np.float32)

    def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name.endswith("scale"):
            return jnp.ones(leaf.shape, jnp.bfloat16)
        shape = leaf.shape[1:] if name.startswith("blocks") else leaf.shape
        values = np.resize((drawn / math.prod(shape[:-1]) ** 0.5).astype(jnp.bfloat16), shape)
        return jnp.array(jnp.broadcast_to(values, leaf.shape))

    return jax.tree_util.tree_map_with_path(fill, shapes)


def measure(function: Callable, *args: Any, repeats: int) -> dict[str, float]:
    """Return time (ms), compile time (s) and peak memory (GiB; on a CPU what the compiler plans) of a call."""
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*args).compile()
    seconds, plan = time.perf_counter() - start, compiled.memory_analysis()
    milliseconds = time_ms(compiled, *args, repeats=repeats)
    planned = plan.argument_size_in_bytes + plan.temp_size_in_bytes + plan.output_size_in_bytes if plan else 0
    peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    found = {"ms": milliseconds, "compile_s": seconds, "planned_gib": planned / 2**30, "peak_gib": peak / 2**30}
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def peer(module: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a program of `experiments.benchmarks.baselines` prints for these flags, and what stopped it."""
    command = [sys.executable, "-m", f"experiments.benchmarks.baselines.{module}"]
    done = subprocess.run(
        [*command, *(f"--{name}={value}" for name, value in given.items())], capture_output=True, text=True
    )
    printed, said = done.stdout.strip().splitlines(), done.stderr.strip().splitlines()
    found = json.loads(printed[-1]) if printed else {}
    return found | ({} if done.returncode == 0 else {"error": said[-1] if said else "no output"})
