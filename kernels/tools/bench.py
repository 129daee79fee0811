"""Time project, bin_tiles and rasterize on random scenes: `python -m kernels.tools.bench [scene ...]`."""

import argparse
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kernels.bin_tiles import bin_tiles, default_tile
from kernels.common.implementation import NAMES
from kernels.common.timing import time_ms
from kernels.project import project
from kernels.project.specs import BENCHMARKS, KNOWN, SceneSpec, make_scene, named
from kernels.rasterize import rasterize


def stages(
    spec: SceneSpec, capacity: int, implementation: str | None = None
) -> tuple[Callable, Callable, Callable, Callable]:
    """Return project, bin, rasterize and the render that chains them, for one image size."""
    size = {"width": spec.width, "height": spec.height, "implementation": implementation}
    tile = default_tile(implementation)

    def projection(scene: dict[str, Array]) -> tuple:
        return project(**scene, **size)

    def binning(p: tuple) -> tuple:
        return bin_tiles(p.mean2d, p.conic, p.opacity, p.extent, p.depth, **size, tile=tile, capacity=capacity)

    def raster(p: tuple, bins: tuple) -> Array:
        return rasterize(p.mean2d, p.conic, p.opacity, p.color, bins, **size, tile=tile)[0]

    def render(scene: dict[str, Array]) -> Array:
        p = projection(scene)
        return raster(p, binning(p))

    return projection, binning, raster, render


def bench(spec: SceneSpec, implementation: str | None = None, calls: int = 20) -> dict[str, float]:
    """Return the times in ms of every stage, forward and with gradients, and the number of intersections."""
    scene = {name: jnp.asarray(a) for name, a in make_scene(spec, np.random.default_rng(0)).items()}
    capacity, needed = 1024, 1025
    while needed > capacity:
        capacity = -(-needed * 9 // 8 // 1024) * 1024
        projection, binning, raster, render = stages(spec, capacity, implementation)
        p = jax.jit(projection)(scene)
        needed = int(jax.jit(binning)(p).needed)
    bins = jax.jit(binning)(p)

    def loss(image: Array) -> Array:
        return jnp.sum(image * jnp.cos(jnp.arange(image.shape[1]))[None, :, None])

    def gradient(f: Callable) -> Callable:
        return jax.jit(jax.value_and_grad(lambda x, *rest: loss(f(x, *rest)), allow_int=True))

    timed = functools.partial(time_ms, repeats=calls)
    return {
        "intersections": needed,
        "project": timed(jax.jit(projection), scene),
        "bin": timed(jax.jit(binning), p),
        "rasterize": timed(jax.jit(raster), p, bins),
        "rasterize with gradients": timed(gradient(raster), p, bins),
        "all": timed(jax.jit(render), scene),
        "all with gradients": timed(gradient(render), scene),
    }


def main() -> None:
    """Print one line per scene."""
    parser = argparse.ArgumentParser(description="Time the kernels on random scenes.")
    parser.add_argument("scenes", nargs="*", default=list(BENCHMARKS), help=f"some of {KNOWN}")
    parser.add_argument("--implementation", choices=NAMES, help="of all stages; default: that of the device")
    parser.add_argument("--calls", type=int, default=20, help="timed calls of each; default: 20")
    arguments = parser.parse_args()
    try:
        specs = [named(name) for name in arguments.scenes]
    except ValueError as error:
        parser.error(str(error))
    print(jax.devices()[0].device_kind, "jax", jax.__version__, arguments.implementation or "")
    for name, spec in zip(arguments.scenes, specs, strict=True):
        figures = bench(spec, arguments.implementation, arguments.calls)
        print(name, {key: round(value, 3) for key, value in figures.items()}, flush=True)


if __name__ == "__main__":
    main()
