"""Time of a render stage by stage, and the least time of each stage by a roofline of the device."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import PyTree

from kernels import Bins, Projected
from kernels.project.specs import SceneSpec
from kernels.tools.bench import make_stages

FLOPS_PER_MS = 67e9  # float32 arithmetic of an H100 or H200 SXM (data sheet)
_COPIED = {"gpu": 1 << 28}  # numbers: more than the caches of a GPU hold
FORWARD_FLOPS, BOTH_FLOPS = 21, 81  # per pixel and intersection, additions and multiplications of `alpha_blending`


def measure_stages(
    spec: SceneSpec, arrays: dict[str, np.ndarray], capacity: int, median_ms: Callable
) -> dict[str, float]:
    """Measure the times of this renderer's stages in ms; each is a separate program.

    `with gradients` is a stage together with its backward pass, for cotangents of ones.
    """
    scene = {name: jnp.asarray(array) for name, array in arrays.items()}
    stages = make_stages(spec, capacity)
    project, bin_, rasterize = map(jax.jit, stages[:3])
    p = project(scene)
    bins = bin_(p)

    def total(tree: PyTree) -> Array:
        return sum(jnp.sum(x) for x in jax.tree.leaves(tree))

    def rasterized_sum(splats: dict[str, Array], p: Projected, bins: Bins) -> Array:
        return total(stages.rasterize(p._replace(**splats), bins))

    def projected_sum(scene: dict[str, Array]) -> Array:
        return total(stages.project(scene)._replace(extent=jnp.zeros(())))

    splats = {name: getattr(p, name) for name in ("mean2d", "conic", "opacity", "color")}
    runs = {
        "project": (project, (scene,)),
        "bin": (bin_, (p,)),
        "rasterize": (rasterize, (p, bins)),
        "rasterize with gradients": (jax.jit(jax.grad(rasterized_sum)), (splats, p, bins)),
        "project with gradients": (jax.jit(jax.grad(projected_sum)), (scene,)),
    }
    return {
        name: median_ms(lambda run=run, inputs=inputs: run(*inputs), jax.block_until_ready)
        for name, (run, inputs) in runs.items()
    }


def bytes_per_ms(median_ms: Callable) -> float:
    """Measure the bytes that this device reads and writes per ms, with a large copy."""
    x = jnp.zeros(_COPIED.get(jax.default_backend(), 1 << 22))
    copy = jax.jit(lambda x: x + 1)
    return 2 * x.nbytes / median_ms(lambda: copy(x), jax.block_until_ready)


def floors(spec: SceneSpec, intersections: int, rate: float) -> dict[str, float]:
    """Estimate the least time of each stage in ms: memory traffic or arithmetic, whichever is longer.

    All entries of the tile lists are counted; a tile that becomes opaque early can be faster than its estimate.

    Args:
        spec: sizes of the scene.
        intersections: number of entries of its tile lists.
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
