"""Speed and memory of rendering and EIG, side by side with gsplat (CUDA) on the same inputs in one process.

    python -m experiments.bench                 # this renderer alone
    python -m experiments.bench --peer          # and gsplat; needs gsplat==1.5.3, PyTorch with CUDA, a CUDA compiler

Times are medians over batches of queued calls: what a training loop sees. Gradients are those with respect to
means, rotations, scales, opacities and colours. gsplat renders colour alone; this renderer always gives colour, depth
and opacity.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments import common
from ff_jax import eig
from ff_jax.camera import Camera
from ff_jax.gaussians import Gaussians
from ff_jax.render import RenderSettings
from kernels.bin_tiles import bin_tiles, default_tile
from kernels.project import project
from kernels.project.specs import BENCHMARKS, SceneSpec, make_scene
from kernels.rasterize import rasterize

_PEER = flags.DEFINE_bool("peer", False, "Also time gsplat.")
_SCENES = flags.DEFINE_list("scenes", list(BENCHMARKS), "Names of random scenes.")
_EIG = flags.DEFINE_bool("eig", True, "Also time the Fisher pass and the EIG map.")
_OUT = flags.DEFINE_string("out", "", "JSON file for the figures.")
_BATCHES, _CALLS = 5, 20
PARAMETERS = ("means", "quats", "scales", "opacities", "sh")


def median_ms(call: Callable[[], Any], wait: Callable[[Any], Any]) -> float:
    """Return the median over batches of the mean time of one queued call, ms, after warm-up."""
    wait(call())
    wait(call())
    times = []
    for _ in range(_BATCHES):
        start = time.perf_counter()
        for _ in range(_CALLS):
            result = call()
        wait(result)
        times.append((time.perf_counter() - start) / _CALLS * 1e3)
    return statistics.median(times)


def renderer(spec: SceneSpec, capacity: int) -> Callable:
    """Return render(scene) -> (colour, needed) for one image size and capacity."""
    size = {"width": spec.width, "height": spec.height}
    tile = default_tile()

    def render(scene: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        p = project(**scene, **size, sh_degree=spec.sh_degree)
        bins = bin_tiles(p.mean2d, p.conic, p.opacity, p.extent, p.depth, **size, tile=tile, capacity=capacity)
        return rasterize(p.mean2d, p.conic, p.opacity, p.color, bins, **size, tile=tile)[0], bins.needed

    return render


def bench_ours(spec: SceneSpec, arrays: dict[str, np.ndarray]) -> tuple[dict[str, float], np.ndarray, int]:
    """Return the times (ms) and peak memory (MB) of this renderer, its image, and the capacity it needs."""
    scene = {name: jnp.asarray(array) for name, array in arrays.items()}
    needed = int(jax.jit(renderer(spec, 1024))(scene)[1])
    capacity = -(-needed * 9 // 8 // 1024) * 1024
    render = renderer(spec, capacity)
    target = jnp.asarray(np.random.default_rng(1).random((spec.height, spec.width, 3)), jnp.float32)

    def loss(parameters: dict[str, jax.Array], rest: dict[str, jax.Array]) -> jax.Array:
        return jnp.abs(render(parameters | rest)[0] - target).mean()

    parameters = {name: scene[name] for name in PARAMETERS}
    rest = {name: value for name, value in scene.items() if name not in PARAMETERS}
    forward, both = jax.jit(lambda s: render(s)[0]), jax.jit(jax.value_and_grad(loss))
    times = {
        "intersections": needed,
        "forward": median_ms(lambda: forward(scene), jax.block_until_ready),
        "forward+backward": median_ms(lambda: both(parameters, rest), jax.block_until_ready),
    }
    stats = jax.devices()[0].memory_stats() or {}
    return times | {"peak_MB": stats.get("peak_bytes_in_use", 0) / 1e6}, np.asarray(forward(scene)), capacity


def bench_eig(spec: SceneSpec, arrays: dict[str, np.ndarray], capacity: int) -> dict[str, float]:
    """Return the times (ms) of one Fisher pass, of the posterior, and of one exact EIG map after a render."""
    a = {name: jnp.asarray(array) for name, array in arrays.items()}
    logit = jnp.log(a["opacities"] / (1 - a["opacities"]))
    gaussians = Gaussians(a["means"], a["quats"], jnp.log(a["scales"]), logit, a["sh"])
    alive = jnp.ones(spec.gaussians, bool)
    camera = Camera(a["K"], a["camera_from_world"], spec.width, spec.height)
    settings = RenderSettings(capacity=capacity, antialiased=False)
    image = jnp.asarray(np.random.default_rng(1).random((spec.height, spec.width, 3)), jnp.float32)
    see = jax.jit(
        lambda p: eig.accumulate(p, gaussians, alive, camera, image, settings, noise=0.05, sh_degree=spec.sh_degree)
    )
    nothing = eig.init_precision(gaussians)
    precision = see(nothing)
    believe = jax.jit(lambda p: eig.posterior(p, eig.Priors(), gaussians))
    known = believe(precision)
    alpha = jnp.full((spec.height, spec.width), 0.9)
    sensitivity = jax.jit(lambda: eig.sensitivity(gaussians, alive, camera, settings, spec.sh_degree))
    look = jax.jit(
        lambda k: eig.eig_map(gaussians, alive, k, camera, image, alpha, settings, noise=0.05, sh_degree=spec.sh_degree)
    )
    return {
        "fisher pass": median_ms(lambda: see(nothing), jax.block_until_ready),
        "posterior": median_ms(lambda: believe(precision), jax.block_until_ready),
        "sensitivity": median_ms(sensitivity, jax.block_until_ready),
        "eig map": median_ms(lambda: look(known), jax.block_until_ready),
    }


def bench_peer(spec: SceneSpec, arrays: dict[str, np.ndarray]) -> tuple[dict[str, float], np.ndarray]:
    """Return the times (ms) and peak memory (MB) of gsplat on the same arrays, and its image."""
    import torch
    from gsplat import rasterization

    tensors = {name: torch.tensor(array, device="cuda") for name, array in arrays.items()}
    target = torch.tensor(np.random.default_rng(1).random((spec.height, spec.width, 3)), device="cuda").float()
    camera = tensors["camera_from_world"][None], tensors["K"][None], spec.width, spec.height

    def render() -> Any:
        means, quats, scales, opacities, sh = (tensors[name] for name in PARAMETERS)
        options = {"sh_degree": spec.sh_degree, "packed": False, "near_plane": 0.2, "eps2d": 0.3}
        return rasterization(means, quats, scales, opacities, sh, *camera, **options)[0][0]

    def both() -> Any:
        for name in PARAMETERS:
            tensors[name].grad = None
        loss = (render() - target).abs().mean()
        loss.backward()
        return loss

    wait = lambda _: torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    with torch.no_grad():
        forward = median_ms(render, wait)
        image = render().cpu().numpy()
    for name in PARAMETERS:
        tensors[name].requires_grad_()
    times = {"forward": forward, "forward+backward": median_ms(both, wait)}
    return times | {"peak_MB": torch.cuda.max_memory_allocated() / 1e6}, image


def bench(name: str, spec: SceneSpec) -> dict[str, Any]:
    """Return all figures of one scene."""
    arrays = make_scene(spec, np.random.default_rng(0))
    row: dict[str, Any] = {"scene": name, "gaussians": spec.gaussians}
    row["ours"], image, capacity = bench_ours(spec, arrays)
    if _EIG.value:
        row["eig"] = bench_eig(spec, arrays, capacity)
    if _PEER.value:
        row["gsplat"], theirs = bench_peer(spec, arrays)
        row["difference"] = float(np.abs(image - theirs).max()), float(np.abs(image - theirs).mean())
        row["ratio"] = {key: row["ours"][key] / row["gsplat"][key] for key in ("forward", "forward+backward")}
    return row


def main(_: list[str]) -> None:
    """Print one line per scene; write all figures."""
    unknown = [name for name in _SCENES.value if name not in BENCHMARKS]
    if unknown:
        raise ValueError(f"--scenes={unknown[0]} is unknown: use some of {', '.join(BENCHMARKS)}.")
    print(jax.devices()[0].device_kind, "jax", jax.__version__)
    rows = []
    for name in _SCENES.value:
        rows.append(bench(name, BENCHMARKS[name]))
        print(json.dumps(rows[-1], default=float), flush=True)
    if _OUT.value:
        Path(_OUT.value).write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    common.run(main)
