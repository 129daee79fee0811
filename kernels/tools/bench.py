"""Time project, bin_tiles and rasterize on random scenes: `python -m kernels.tools.bench [scene ...]`."""

import argparse
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kernels import Bins, Projected, ProjectionOptions, TileGrid, bin_tiles, default_tile, project, rasterize
from kernels.common.implementation import IMPLEMENTATIONS
from kernels.project.specs import BENCHMARKS, SCENE_NAMES, SceneSpec, make_scene, named_scene, scene_records
from kernels.tools.timing import time_ms


class Stages(NamedTuple):
    """The stages of a render as functions, and the render that chains them."""

    project: Callable[[dict[str, Array]], Projected]
    bin: Callable[[Projected], Bins]
    rasterize: Callable[[Projected, Bins], Array]
    render: Callable[[dict[str, Array]], Array]


def make_stages(spec: SceneSpec, capacity: int, implementation: str | None = None) -> Stages:
    """Build the stages for one image size."""
    options = ProjectionOptions(spec.width, spec.height)
    grid = TileGrid(spec.width, spec.height, default_tile(implementation))

    def run_project(scene: dict[str, Array]) -> Projected:
        return project(*scene_records(scene), options, implementation=implementation)

    def run_bin(p: Projected) -> Bins:
        return bin_tiles(p, grid, capacity=capacity, implementation=implementation)

    def run_rasterize(p: Projected, bins: Bins) -> Array:
        return rasterize(p, p.color, bins, implementation=implementation)[0]

    def render(scene: dict[str, Array]) -> Array:
        p = run_project(scene)
        return run_rasterize(p, run_bin(p))

    return Stages(run_project, run_bin, run_rasterize, render)


def sufficient_capacity(count: Callable[[int], int]) -> int:
    """Find a capacity with an eighth to spare; `count(capacity)` returns the number of intersections.

    With too small a capacity, the count may be an upper bound.
    """
    capacity, num_intersections = 1024, 1025
    while num_intersections > capacity:
        capacity = -(-num_intersections * 9 // 8 // 1024) * 1024
        num_intersections = count(capacity)
    return capacity


def bench(spec: SceneSpec, implementation: str | None = None, calls: int = 20) -> dict[str, float]:
    """Measure every stage, forward and with gradients, ms, and the number of intersections."""
    scene = {name: jnp.asarray(a) for name, a in make_scene(spec, np.random.default_rng(0)).items()}
    p = jax.jit(make_stages(spec, 1, implementation).project)(scene)

    def count(capacity: int) -> int:
        return int(jax.jit(make_stages(spec, capacity, implementation).bin)(p).num_intersections)

    stages = make_stages(spec, sufficient_capacity(count), implementation)
    bins = jax.jit(stages.bin)(p)

    def loss(image: Array) -> Array:
        return jnp.sum(image * jnp.cos(jnp.arange(image.shape[1]))[None, :, None])

    def gradient(f: Callable) -> Callable:
        return jax.jit(jax.value_and_grad(lambda x, *rest: loss(f(x, *rest)), allow_int=True))

    measure = functools.partial(time_ms, repeats=calls)
    return {
        "intersections": int(bins.num_intersections),
        "project": measure(jax.jit(stages.project), scene),
        "bin": measure(jax.jit(stages.bin), p),
        "rasterize": measure(jax.jit(stages.rasterize), p, bins),
        "rasterize with gradients": measure(gradient(stages.rasterize), p, bins),
        "all": measure(jax.jit(stages.render), scene),
        "all with gradients": measure(gradient(stages.render), scene),
    }


def main() -> None:
    """Print one line per scene."""
    parser = argparse.ArgumentParser(description="Time the kernels on random scenes.")
    parser.add_argument("scenes", nargs="*", default=list(BENCHMARKS), help=f"some of {SCENE_NAMES}")
    parser.add_argument("--implementation", choices=IMPLEMENTATIONS, help="of all stages; default: that of the device")
    parser.add_argument("--calls", type=int, default=20, help="timed calls of each; default: 20")
    arguments = parser.parse_args()
    try:
        specs = [named_scene(name) for name in arguments.scenes]
    except ValueError as error:
        parser.error(str(error))
    print(jax.devices()[0].device_kind, "jax", jax.__version__, arguments.implementation or "")
    for name, spec in zip(arguments.scenes, specs, strict=True):
        figures = bench(spec, arguments.implementation, arguments.calls)
        print(name, {key: round(value, 3) for key, value in figures.items()}, flush=True)


if __name__ == "__main__":
    main()
