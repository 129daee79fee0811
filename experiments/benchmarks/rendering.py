"""Measure speed and memory of rendering and EIG, beside gsplat (CUDA) on the same inputs in one process.

    python -m experiments.benchmarks.rendering                 # this renderer alone
    python -m experiments.benchmarks.rendering --baseline      # and gsplat 1.5.3 (PyTorch with CUDA, a CUDA compiler)

Times are medians over batches of queued calls, as in a training loop. Gradients are with respect to means, rotations,
scales, opacities and colors. gsplat renders color only; this renderer always renders color, depth and opacity. Memory
(`memory_MB`) is that of one program by itself: what XLA reserves for its arguments, its results and everything between
them; for gsplat, the peak of PyTorch's allocator during the calls.
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
from jaxtyping import Array, Float

from experiments.benchmarks import scenes
from experiments.benchmarks.baselines import gsplat_render
from experiments.benchmarks.scenes import (
    DEFAULT_SCENES,
    check_scenes,
    load_scene,
    memory_mb,
    round_up,
    to_gaussians,
    with_state,
)
from experiments.benchmarks.stages import bytes_per_ms, floors, measure_stages
from experiments.cli import command_line
from ff_jax import eig
from ff_jax.render.camera import Camera
from ff_jax.render.gaussians import Gaussians, WorldGaussians
from ff_jax.render.renderer import RenderInput, RenderOutput, RenderSettings, render
from kernels import Gaussians3D
from kernels.project.specs import SceneSpec
from kernels.tools.bench import make_stages

_BASELINE = flags.DEFINE_bool("baseline", False, "Also time gsplat.")
_SCENES = flags.DEFINE_list(
    "scenes", [*DEFAULT_SCENES, "6m_3840x2160"], "Scenes of `experiments/benchmarks/scenes.py`."
)
_EIG = flags.DEFINE_bool("eig", True, "Also time the Fisher pass and the EIG map.")
_CALLS = flags.DEFINE_integer(
    "calls",
    20,
    "Queued calls per batch; the result is the median of five batches.",
    lower_bound=1,
    upper_bound=1_000_000,
)
_OUT = flags.DEFINE_string("out", "", "JSON file for the figures.")

Arrays = dict[str, Array]


def median_ms(call: Callable[[], Any], wait: Callable[[Any], Any]) -> float:
    """Measure the time of a call in ms with `scenes.median_ms` and --calls."""
    return scenes.median_ms(call, wait, calls=_CALLS.value)


def make_renderer(spec: SceneSpec, capacity: int) -> Callable[[Arrays], tuple[Float[Array, "H W 3"], Array]]:
    """Make render(scene) -> (color, num_intersections) for one image size and capacity."""
    stages = make_stages(spec, capacity)

    def render(scene: Arrays) -> tuple[Float[Array, "H W 3"], Array]:
        projected = stages.project(scene)
        bins = stages.bin(projected)
        return stages.rasterize(projected, bins), bins.num_intersections

    return render


def fit_renderer(spec: SceneSpec, scene: Arrays) -> tuple[Callable, int, int]:
    """Make a renderer with sufficient capacity; also return the number of intersections and the capacity."""
    num_intersections = capacity = 1024
    while num_intersections >= capacity:  # the number may be an upper bound if the lists are too short
        capacity = round_up(num_intersections, 1024)
        num_intersections = int(jax.jit(make_renderer(spec, capacity))(scene)[1])
    capacity = round_up(num_intersections, 1024)
    return make_renderer(spec, capacity), num_intersections, capacity


def bench_renderer(spec: SceneSpec, arrays: dict[str, np.ndarray]) -> tuple[dict[str, Any], np.ndarray, int]:
    """Measure times (ms) and memory (MB) of this renderer; also return its image and the capacity."""
    scene = {name: jnp.asarray(array) for name, array in arrays.items()}
    render, num_intersections, capacity = fit_renderer(spec, scene)
    target = jnp.asarray(np.random.default_rng(1).random((spec.height, spec.width, 3)), jnp.float32)

    def loss(parameters: Arrays, constants: Arrays, target: Float[Array, "H W 3"]) -> Array:
        return jnp.abs(render(parameters | constants)[0] - target).mean()

    parameters = {name: scene[name] for name in Gaussians3D._fields}
    constants = {name: value for name, value in scene.items() if name not in parameters}
    forward = jax.jit(lambda s: render(s)[0]).lower(scene).compile()
    both = jax.jit(jax.value_and_grad(loss)).lower(parameters, constants, target).compile()
    figures = {
        "intersections": num_intersections,
        "forward": median_ms(lambda: forward(scene), jax.block_until_ready),
        "forward+backward": median_ms(lambda: both(parameters, constants, target), jax.block_until_ready),
        "memory_MB": {"forward": memory_mb(forward), "forward+backward": memory_mb(both)},
    }
    return figures, np.asarray(forward(scene)), capacity


def eig_calls(spec: SceneSpec, arrays: dict[str, np.ndarray], capacity: int) -> dict[str, tuple[Callable, tuple]]:
    """Make jitted functions with their arguments, by name: a render, and the passes that EIG adds to it."""
    a = {name: jnp.asarray(array) for name, array in arrays.items()}
    world = WorldGaussians(to_gaussians(a), jnp.ones(spec.gaussians, bool))
    camera = Camera(a["K"], a["camera_from_world"], spec.width, spec.height)
    settings = RenderSettings(capacity=capacity, antialiased=False)

    def make_input(world: WorldGaussians, camera: Camera) -> RenderInput:
        return RenderInput(world, camera, settings, spec.sh_degree)

    @jax.jit
    def render_view(world: WorldGaussians, camera: Camera) -> RenderOutput:
        return render(make_input(world, camera))

    @functools.partial(jax.jit, donate_argnums=0)
    def accumulate(p: eig.Precision, world: WorldGaussians, camera: Camera) -> tuple[RenderOutput, eig.Precision]:
        inputs = make_input(world, camera)
        out = render(inputs)
        return out, eig.accumulate(p, inputs, out.rgb, noise=0.05, alpha=out.alpha)

    @jax.jit
    def make_map(
        posterior: eig.Posterior, world: WorldGaussians, camera: Camera
    ) -> tuple[RenderOutput, Float[Array, "H W"]]:
        inputs = make_input(world, camera)
        out = render(inputs)
        return out, eig.eig_map(posterior, inputs, out.rgb, out.alpha, noise=0.05)

    @jax.jit
    def make_posterior(precision: eig.Precision, gaussians: Gaussians) -> eig.Posterior:
        return eig.posterior(precision, eig.Priors(), gaussians)

    view, gaussians = (world, camera), world.gaussians
    precision = accumulate(eig.init_precision(gaussians), *view)[1]
    posterior = make_posterior(precision, gaussians)
    return {
        "render": (render_view, view),
        "render and fisher pass": (with_state(accumulate, jax.tree.map(jnp.copy, precision)), view),
        "posterior": (make_posterior, (precision, gaussians)),
        "render and eig map": (make_map, (posterior, *view)),
    }


def bench_eig(spec: SceneSpec, arrays: dict[str, np.ndarray], capacity: int) -> dict[str, float]:
    """Measure the times (ms) of one Fisher pass, of the posterior, and of one exact EIG map after a render."""
    calls = eig_calls(spec, arrays, capacity).items()
    times = {name: median_ms(functools.partial(run, *inputs), jax.block_until_ready) for name, (run, inputs) in calls}
    for name in ("fisher pass", "eig map"):
        times[name] = times[f"render and {name}"] - times["render"]
    return times


def bench(name: str) -> dict[str, Any]:
    """Measure all figures of one scene."""
    spec, arrays = load_scene(name)
    row: dict[str, Any] = {"scene": name, "gaussians": spec.gaussians}
    row["ours"], image, capacity = bench_renderer(spec, arrays)
    row["stages"] = measure_stages(spec, arrays, capacity, median_ms)
    row["GB_per_s"] = bytes_per_ms(median_ms) / 1e6
    row["floors"] = floors(spec, row["ours"]["intersections"], row["GB_per_s"] * 1e6)
    if _EIG.value:
        row["eig"] = bench_eig(spec, arrays, capacity)
    if _BASELINE.value:
        row["gsplat"], baseline_image = gsplat_render.bench(spec, arrays, median_ms)
        difference = np.abs(image - baseline_image)
        row["difference"] = float(difference.max()), float(difference.mean())
        row["ratio"] = {key: row["ours"][key] / row["gsplat"][key] for key in ("forward", "forward+backward")}
    return row


def main(_: list[str]) -> None:
    """Print one line per scene; write all figures."""
    check_scenes(_SCENES.value)  # before the first of them takes minutes
    if _BASELINE.value:
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
