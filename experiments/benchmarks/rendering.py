"""Speed and memory of rendering and EIG, side by side with gsplat (CUDA) on the same inputs in one process.

    python -m experiments.benchmarks.rendering                 # this renderer alone
    python -m experiments.benchmarks.rendering --peer # and gsplat 1.5.3 (PyTorch with CUDA and a CUDA compiler)

Times are medians over batches of queued calls: what a training loop sees. Gradients are those with respect to
means, rotations, scales, opacities and colours. gsplat renders colour alone; this renderer always gives colour, depth
and opacity. Memory, in MB, is that of one program by itself: what XLA reserves for its arguments, its results and
everything between them (`memory_MB`); of gsplat, the most that PyTorch's allocator held during the calls.
"""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.benchmarks import scenes
from experiments.benchmarks.baselines import gsplat_render
from experiments.benchmarks.scenes import PARAMETERS, USUAL, check_scenes, load
from experiments.benchmarks.stages import bytes_per_ms, floors, stages
from experiments.cli import command_line
from ff_jax import eig
from ff_jax.render.camera import Camera
from ff_jax.render.gaussians import Gaussians
from ff_jax.render.renderer import RenderSettings, render
from kernels.bin_tiles import bin_tiles, default_tile
from kernels.project import project
from kernels.project.specs import SceneSpec
from kernels.rasterize import rasterize

_PEER = flags.DEFINE_bool("peer", False, "Also time gsplat.")
_SCENES = flags.DEFINE_list("scenes", [*USUAL, "6m_3840x2160"], "Scenes of `experiments/benchmarks/scenes.py`.")
_EIG = flags.DEFINE_bool("eig", True, "Also time the Fisher pass and the EIG map.")
_CALLS = flags.DEFINE_integer("calls", 20, "Queued calls per batch; of five batches the median counts.", lower_bound=1)
_OUT = flags.DEFINE_string("out", "", "JSON file for the figures.")


def median_ms(call: Callable[[], Any], wait: Callable[[Any], Any]) -> float:
    """Return `bench_scenes.median_ms` of as many calls as were asked for."""
    return scenes.median_ms(call, wait, calls=_CALLS.value)


def memory_mb(program: jax.stages.Compiled) -> float:
    """Return the device memory of a compiled program, MB: arguments, results and temporaries, shared bytes once."""
    found = program.memory_analysis()
    shared = found.alias_size_in_bytes
    parts = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    return (parts - shared) / 1e6


def renderer(spec: SceneSpec, capacity: int) -> Callable:
    """Return render(scene) -> (colour, needed) for one image size and capacity."""
    size = {"width": spec.width, "height": spec.height}
    tile = default_tile()

    def render(scene: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        p = project(**scene, **size, sh_degree=spec.sh_degree)
        bins = bin_tiles(p.mean2d, p.conic, p.opacity, p.extent, p.depth, **size, tile=tile, capacity=capacity)
        return rasterize(p.mean2d, p.conic, p.opacity, p.color, bins, **size, tile=tile)[0], bins.needed

    return render


def fitting(spec: SceneSpec, scene: dict[str, jax.Array]) -> tuple[Callable, int, int]:
    """Return a renderer whose lists fit the scene, how many intersections there are, and for how many there is room."""
    needed = capacity = 1024
    while needed >= capacity:  # what a list too short reports may be an upper bound
        capacity = -(-needed * 9 // 8 // 1024) * 1024
        needed = int(jax.jit(renderer(spec, capacity))(scene)[1])
    capacity = -(-needed * 9 // 8 // 1024) * 1024
    return renderer(spec, capacity), needed, capacity


def bench_ours(spec: SceneSpec, arrays: dict[str, np.ndarray]) -> tuple[dict[str, Any], np.ndarray, int]:
    """Return the times (ms) and memory (MB) of this renderer, its image, and the capacity it needs."""
    scene = {name: jnp.asarray(array) for name, array in arrays.items()}
    render, needed, capacity = fitting(spec, scene)
    target = jnp.asarray(np.random.default_rng(1).random((spec.height, spec.width, 3)), jnp.float32)

    def loss(parameters: dict[str, jax.Array], rest: dict[str, jax.Array], target: jax.Array) -> jax.Array:
        return jnp.abs(render(parameters | rest)[0] - target).mean()

    parameters = {name: scene[name] for name in PARAMETERS}
    rest = {name: value for name, value in scene.items() if name not in PARAMETERS}
    forward = jax.jit(lambda s: render(s)[0]).lower(scene).compile()
    both = jax.jit(jax.value_and_grad(loss)).lower(parameters, rest, target).compile()
    figures = {
        "intersections": needed,
        "forward": median_ms(lambda: forward(scene), jax.block_until_ready),
        "forward+backward": median_ms(lambda: both(parameters, rest, target), jax.block_until_ready),
        "memory_MB": {"forward": memory_mb(forward), "forward+backward": memory_mb(both)},
    }
    return figures, np.asarray(forward(scene)), capacity


def eig_calls(spec: SceneSpec, arrays: dict[str, np.ndarray], capacity: int) -> dict[str, tuple[Callable, tuple]]:
    """Return, by name, jitted functions and their arguments: everything that EIG adds to a render."""
    a = {name: jnp.asarray(array) for name, array in arrays.items()}
    logit = jnp.log(a["opacities"] / (1 - a["opacities"]))
    gaussians = Gaussians(a["means"], a["quats"], jnp.log(a["scales"]), logit, a["sh"])
    camera = Camera(a["K"], a["camera_from_world"], spec.width, spec.height)
    settings = RenderSettings(capacity=capacity, antialiased=False)
    alive = jnp.ones(spec.gaussians, bool)
    options = {"noise": 0.05, "sh_degree": spec.sh_degree}
    draw = lambda g, live, c: render(g, live, c, settings, sh_degree=spec.sh_degree)

    @functools.partial(jax.jit, donate_argnums=0)
    def see(p: eig.Precision, g: Gaussians, live: jax.Array, c: Camera) -> tuple:
        view = draw(g, live, c)
        return view, eig.accumulate(p, g, live, c, view.rgb, settings, alpha=view.alpha, **options)

    @jax.jit
    def look(k: eig.Posterior, g: Gaussians, live: jax.Array, c: Camera) -> tuple:
        view = draw(g, live, c)
        return view, eig.eig_map(g, live, k, c, view.rgb, view.alpha, settings, **options)

    believe = jax.jit(lambda p, g: eig.posterior(p, eig.Priors(), g))
    nothing, seen = eig.init_precision(gaussians), (gaussians, alive, camera)
    precision = see(nothing, *seen)[1]
    known = believe(precision, gaussians)
    return {
        "render": (jax.jit(draw), seen),
        "render and fisher pass": (scenes.in_place(see, jax.tree.map(jnp.copy, precision)), seen),
        "posterior": (believe, (precision, gaussians)),
        "render and eig map": (look, (known, *seen)),
    }


def bench_eig(spec: SceneSpec, arrays: dict[str, np.ndarray], capacity: int) -> dict[str, float]:
    """Return the times (ms) of one Fisher pass, of the posterior, and of one exact EIG map after a render."""
    calls = eig_calls(spec, arrays, capacity).items()
    times = {name: median_ms(functools.partial(run, *inputs), jax.block_until_ready) for name, (run, inputs) in calls}
    for name in ("fisher pass", "eig map"):
        times[name] = times[f"render and {name}"] - times["render"]
    return times


def bench(name: str) -> dict[str, Any]:
    """Return all figures of one scene."""
    spec, arrays = load(name)
    row: dict[str, Any] = {"scene": name, "gaussians": spec.gaussians}
    row["ours"], image, capacity = bench_ours(spec, arrays)
    row["stages"] = stages(spec, arrays, capacity, median_ms)
    row["GB_per_s"] = bytes_per_ms(median_ms) / 1e6
    row["floors"] = floors(spec, row["ours"]["intersections"], row["GB_per_s"] * 1e6)
    if _EIG.value:
        row["eig"] = bench_eig(spec, arrays, capacity)
    if _PEER.value:
        row["gsplat"], theirs = gsplat_render.bench(spec, arrays, median_ms)
        row["difference"] = float(np.abs(image - theirs).max()), float(np.abs(image - theirs).mean())
        row["ratio"] = {key: row["ours"][key] / row["gsplat"][key] for key in ("forward", "forward+backward")}
    return row


def main(_: list[str]) -> None:
    """Print one line per scene; write all figures."""
    check_scenes(_SCENES.value)  # before minutes are spent on the first of them
    if _PEER.value:
        gsplat_render.require()
    print(jax.devices()[0].device_kind, "jax", jax.__version__)
    print("times in ms; memory_MB of each program by itself: arguments, results and temporaries")
    rows = []
    for name in _SCENES.value:
        rows.append(bench(name))
        print(json.dumps(rows[-1], default=float), flush=True)
    if _OUT.value:
        Path(_OUT.value).write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    command_line.run(main)
