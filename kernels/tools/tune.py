"""Measure block sizes on this device and write them to where kernels look them up: `python -m kernels.tools.tune`.

One scene after the other, one field after the other: the value under which the kernels took the least time stays.
"""

import argparse
import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kernels.bin_tiles import bin_tiles
from kernels.common.timing import time_ms
from kernels.common.tuned_configs import device_file
from kernels.fisher import pallas_gpu as fisher
from kernels.fisher.config import FisherConfig
from kernels.project import project
from kernels.project.specs import BENCHMARKS, KNOWN, SceneSpec, make_scene, named
from kernels.rasterize import rasterize
from kernels.rasterize.config import RasterConfig, choose_config

TILE = 16
SWEEP = {
    "rasterize": {"segment": (128, 256, 512, 1024), "chunk": (16, 32, 64), "warps": (1, 2), "reduce_block": (4, 8, 16)},
    "fisher": {"chunk": (16, 32, 64), "map_warps": (1, 2, 4), "accumulate_warps": (1, 2), "reduce_block": (4, 8)},
}
Config = RasterConfig | FisherConfig


def best(time: Callable[[Config], float], config: Config, values: dict[str, tuple]) -> tuple[Config, float]:
    """Return the best configuration found field by field from `config` on, and its time, ms."""
    known = {config: time(config)}
    for field, choices in values.items():
        for choice in choices:
            candidate = dataclasses.replace(config, **{field: choice})
            if candidate not in known:
                known[candidate] = time(candidate)
        config = min(known, key=known.get)
    return config, known[config]


def inputs(spec: SceneSpec) -> tuple[tuple, Any, int]:
    """Return the projected Gaussians of a scene, their lists, and the capacity of these."""
    scene = {name: jnp.asarray(a) for name, a in make_scene(spec, np.random.default_rng(0)).items()}
    size = {"width": spec.width, "height": spec.height}
    p = jax.jit(functools.partial(project, **size))(**scene)
    lists = jax.jit(functools.partial(bin_tiles, **size, tile=TILE), static_argnames="capacity")
    arrays = p.mean2d, p.conic, p.opacity, p.extent, p.depth
    capacity = -(-int(lists(*arrays, capacity=1024).needed) * 9 // 8 // 1024) * 1024
    return p, lists(*arrays, capacity=capacity), capacity


def rasterize_ms(spec: SceneSpec, p: Any, bins: Any, config: RasterConfig) -> float:
    """Return the time of rendering with gradients, ms."""
    size = {"width": spec.width, "height": spec.height, "tile": TILE, "implementation": "pallas", "config": config}

    def loss(mean2d: Array, conic: Array, opacity: Array, color: Array) -> Array:
        return jnp.mean(rasterize(mean2d, conic, opacity, color, bins, **size)[0] ** 2)

    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))
    return time_ms(run, p.mean2d, p.conic, p.opacity, p.color)


def fisher_ms(spec: SceneSpec, p: Any, bins: Any, config: FisherConfig) -> float:
    """Return the time of a Fisher pass and an EIG map, ms."""
    splats, image = (p.mean2d, p.conic, p.opacity, p.color), jnp.full((spec.height, spec.width, 3), 0.5)
    flat, N = image[..., 0], p.mean2d.shape[0]
    how = {"tile": TILE, "config": config}
    see = jax.jit(lambda *s: fisher.accumulate(*s, bins, image, flat, None, **how))
    factor, q = jnp.full((N, 6, 1), 0.1), jnp.full(N, 0.1)
    look = jax.jit(lambda *s: fisher.eig_map(*s, bins, image, flat, factor, q, 1.0, 1.0, mode="exact", **how))
    return time_ms(see, *splats) + time_ms(look, *splats)


def tune(names: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the entries of a file for some scenes by name; prints what was found."""
    entries: dict[str, list[dict[str, Any]]] = {"rasterize": [], "fisher": []}
    for name in names:
        spec = named(name)
        p, bins, capacity = inputs(spec)
        tiles = bins.tile_starts.shape[0] - 1
        first = {"rasterize": choose_config(capacity, tiles), "fisher": FisherConfig()}
        for op, measure in (("rasterize", rasterize_ms), ("fisher", fisher_ms)):
            config, ms = best(functools.partial(measure, spec, p, bins), first[op], SWEEP[op])
            like = {"scene": name, "capacity": capacity, "tiles": tiles, "ms": round(ms, 4)}
            entries[op].append(like | {"config": dataclasses.asdict(config)})
            print(op, json.dumps(entries[op][-1]), flush=True)
    return entries


def main() -> None:
    """Measure, and write the file of this device."""
    kind = jax.devices()[0].device_kind
    parser = argparse.ArgumentParser(description="Measure block sizes on this device.")
    parser.add_argument("scenes", nargs="*", default=list(BENCHMARKS), help=f"some of {KNOWN}")
    parser.add_argument("--out", type=Path, default=device_file(kind), help="file to write")
    arguments = parser.parse_args()
    try:
        for name in arguments.scenes:
            named(name)
    except ValueError as error:
        parser.error(str(error))
    if jax.default_backend() != "gpu":  # interpreted, they would run for hours and tell nothing
        parser.error(f"block sizes are those of kernels on an NVIDIA GPU, and this is a {jax.default_backend()}.")
    found = {"device": kind, "jax": jax.__version__, **tune(arguments.scenes)}
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
