"""Measure block sizes on this device and write them to the file that kernels read: `python -m kernels.tools.tune`.

For one scene after the other and one field after the other, the value with the least time is selected.
"""

import argparse
import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kernels import Bins, Projected, ProjectionOptions, TileGrid, Uncertainty, bin_tiles, project, rasterize
from kernels.common.tuned_configs import device_file
from kernels.fisher.config import FisherConfig
from kernels.fisher.pallas_gpu import FisherKernels
from kernels.project.specs import BENCHMARKS, SCENE_NAMES, SceneSpec, make_scene, named_scene, scene_records
from kernels.rasterize.config import RasterConfig, choose_config
from kernels.tools.bench import sufficient_capacity
from kernels.tools.timing import time_ms

TILE = 16
CANDIDATES = {
    "rasterize": {"segment": (128, 256, 512, 1024), "chunk": (16, 32, 64), "warps": (1, 2), "reduce_block": (4, 8, 16)},
    "fisher": {"chunk": (16, 32, 64), "map_warps": (1, 2, 4), "accumulate_warps": (1, 2), "reduce_block": (4, 8)},
}
Config = TypeVar("Config", RasterConfig, FisherConfig)


def best_config(time: Callable[[Config], float], config: Config, candidates: dict[str, tuple]) -> tuple[Config, float]:
    """Search for the fastest configuration field by field, starting from `config`; return it with its time, ms."""
    times = {config: time(config)}
    for field, values in candidates.items():
        for value in values:
            candidate = dataclasses.replace(config, **{field: value})
            if candidate not in times:
                times[candidate] = time(candidate)
        config = min(times, key=lambda c: times[c])
    return config, times[config]


def projected_and_bins(spec: SceneSpec) -> tuple[Projected, Bins]:
    """Project the Gaussians of a scene and bin them with sufficient capacity."""
    scene = {name: jnp.asarray(a) for name, a in make_scene(spec, np.random.default_rng(0)).items()}
    p = jax.jit(project)(*scene_records(scene), ProjectionOptions(spec.width, spec.height))
    grid = TileGrid(spec.width, spec.height, TILE)
    bin_fast = jax.jit(bin_tiles, static_argnames="capacity")
    capacity = sufficient_capacity(lambda capacity: int(bin_fast(p, grid, capacity=capacity).num_intersections))
    return p, bin_fast(p, grid, capacity=capacity)


def rasterize_ms(p: Projected, bins: Bins, config: RasterConfig) -> float:
    """Measure rendering with gradients, ms."""

    def loss(mean2d: Array, conic: Array, opacity: Array, color: Array) -> Array:
        moved = p._replace(mean2d=mean2d, conic=conic, opacity=opacity)
        return jnp.mean(rasterize(moved, color, bins, implementation="pallas", config=config)[0] ** 2)

    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))
    return time_ms(run, p.mean2d, p.conic, p.opacity, p.color)


def fisher_ms(p: Projected, bins: Bins, config: FisherConfig) -> float:
    """Measure a Fisher pass and an EIG map, ms."""
    grid, N = bins.grid, p.depth.shape[0]
    image, flat = jnp.full((grid.height, grid.width, 3), 0.5), jnp.full((grid.height, grid.width), 0.5)
    uncertainty = Uncertainty(jnp.full((N, 6, 1), 0.1), jnp.full(N, 0.1), 1.0, 1.0)
    run = FisherKernels(config=config)
    accumulate = jax.jit(lambda p: run.fisher_information(p, p.color, bins, image, flat, None))
    eig = jax.jit(lambda p: run.eig_map(p, p.color, bins, image, flat, uncertainty, mode="exact"))
    return time_ms(accumulate, p) + time_ms(eig, p)


def tune(names: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Measure the scenes with these names; return the entries of the file, and print each."""
    entries: dict[str, list[dict[str, Any]]] = {"rasterize": [], "fisher": []}
    for name in names:
        p, bins = projected_and_bins(named_scene(name))
        sizes = {"scene": name, "capacity": bins.capacity, "tiles": bins.grid.num_tiles}
        measured = {
            "rasterize": best_config(
                functools.partial(rasterize_ms, p, bins),
                choose_config(bins.capacity, bins.grid.num_tiles),
                CANDIDATES["rasterize"],
            ),
            "fisher": best_config(functools.partial(fisher_ms, p, bins), FisherConfig(), CANDIDATES["fisher"]),
        }
        for op, (config, ms) in measured.items():
            entries[op].append(sizes | {"ms": round(ms, 4), "config": dataclasses.asdict(config)})
            print(op, json.dumps(entries[op][-1]), flush=True)
    return entries


def main() -> None:
    """Measure, and write the file of this device."""
    kind = jax.devices()[0].device_kind
    parser = argparse.ArgumentParser(description="Measure block sizes on this device.")
    parser.add_argument("scenes", nargs="*", default=list(BENCHMARKS), help=f"some of {SCENE_NAMES}")
    parser.add_argument("--out", type=Path, default=device_file(kind), help="file to write")
    arguments = parser.parse_args()
    try:
        for name in arguments.scenes:
            named_scene(name)
    except ValueError as error:
        parser.error(str(error))
    if jax.default_backend() != "gpu":  # interpreted kernels would run for hours, and their times have no meaning
        parser.error(f"block sizes need an NVIDIA GPU, and this is a {jax.default_backend()}.")
    content = {"device": kind, "jax": jax.__version__, **tune(arguments.scenes)}
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
