"""Where the time of a render goes, stage by stage, and what each stage would take at the device's measured limits."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kernels.project.specs import SceneSpec
from kernels.tools.bench import stages as of_size

FLOPS_PER_MS = 67e9  # float32 arithmetic of an H100 or H200 SXM (data sheet)
_COPIED = {"gpu": 1 << 28}  # numbers: a GPU's caches must not hold them
FORWARD_FLOPS, BOTH_FLOPS = 21, 81  # per pixel and intersection, additions and multiplications of `blend`


def stages(spec: SceneSpec, arrays: dict[str, np.ndarray], capacity: int, median_ms: Callable) -> dict[str, float]:
    """Return the times of this renderer's stages, each a program of its own, ms.

    `with gradients` is a stage and its backward pass together, for cotangents of ones.
    """
    scene = {name: jnp.asarray(array) for name, array in arrays.items()}
    projection, binning, raster, _ = of_size(spec, capacity)
    total = lambda tree: sum(jnp.sum(x) for x in jax.tree.leaves(tree))
    p = jax.jit(projection)(scene)
    bins = jax.jit(binning)(p)

    def of_splats(splats: tuple, p: Any, bins: Any) -> Array:
        mean2d, conic, opacity, color = splats
        return total(raster(p._replace(mean2d=mean2d, conic=conic, opacity=opacity, color=color), bins))

    def pulled(scene: dict[str, Array]) -> Array:
        p = projection(scene)
        return total((p.mean2d, p.conic, p.opacity, p.depth, p.color))

    splats = p.mean2d, p.conic, p.opacity, p.color
    runs = {
        "project": (jax.jit(projection), (scene,)),
        "bin": (jax.jit(binning), (p,)),
        "rasterize": (jax.jit(raster), (p, bins)),
        "rasterize with gradients": (jax.jit(jax.grad(of_splats)), (splats, p, bins)),
        "project with gradients": (jax.jit(jax.grad(pulled)), (scene,)),
    }
    return {
        name: median_ms(lambda run=run, inputs=inputs: run(*inputs), jax.block_until_ready)
        for name, (run, inputs) in runs.items()
    }


def bytes_per_ms(median_ms: Callable) -> float:
    """Return how many bytes this device reads and writes in a ms, by a large copy."""
    x = jnp.zeros(_COPIED.get(jax.default_backend(), 1 << 22))
    copy = jax.jit(lambda x: x + 1)
    return 2 * x.nbytes / median_ms(lambda: copy(x), jax.block_until_ready)


def floors(spec: SceneSpec, intersections: int, rate: float) -> dict[str, float]:
    """Return the least time of every stage, ms: bytes that must move, or arithmetic, whichever is longer.

    Lists are counted as if no tile ever became opaque; a walk that stops early can be below its floor.

    Args:
        spec: the scene.
        intersections: of its tile lists.
        rate: bytes per ms, from `bytes_per_ms`.
    """
    coefficients = 3 * (spec.sh_degree + 1) ** 2
    parameters, projected = 4 * (11 + coefficients), 4 * 12
    pairs = 256 * intersections
    lists = intersections * 4 * (9 + 1)  # nine numbers of a Gaussian and its index
    # Depth sort: 4 passes over (key, index); tile sort: 2 passes over a 16-bit key and a place.
    sorts = spec.gaussians * 4 * 2 * 8 + intersections * 2 * 2 * 6
    pixels = 4 * 5 * spec.width * spec.height
    times = {
        "project": spec.gaussians * (parameters + projected) / rate,
        "bin": (sorts + spec.gaussians * 32 * 2 + intersections * 8 * 2) / rate,
        "rasterize": max((lists + pixels) / rate, pairs * FORWARD_FLOPS / FLOPS_PER_MS),
        "rasterize with gradients": max((2 * lists + 3 * pixels) / rate, pairs * BOTH_FLOPS / FLOPS_PER_MS),
        "project with gradients": spec.gaussians * 2 * (parameters + projected) / rate,
    }
    return {name: round(ms, 4) for name, ms in times.items()}
