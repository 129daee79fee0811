"""Measure the cost of EIG beside training: times as a share of one training step, and memory per Gaussian.

    python -m experiments.benchmarks.eig                                 # 112k, 2.8 million and 500k captured Gaussians
    python -m experiments.benchmarks.eig --scenes=300_64x48 --calls=1    # seconds on a CPU

One line of JSON per scene. The training step is that of `ff_jax.train.step`: render over the sky network, losses,
gradient, Adam and exploration of all parameters; its learning rates are so small that the scene does not change. The
other times are differences to a render in the same program, so that projection and tile lists count once: the Fisher
pass of one recorded view, the exact map, and the trace bound. The posterior is computed once for all maps. `share` is
the time divided by that of one training step. Memory is the size of the accumulator and of the posterior per Gaussian,
in bytes, by the highest band of spherical harmonics.
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
from jaxtyping import Array, PyTree

from experiments.benchmarks.scenes import (
    DEFAULT_SCENES,
    check_scenes,
    load_scene,
    median_ms,
    round_up,
    to_gaussians,
    with_state,
)
from experiments.cli import command_line
from ff_jax import eig
from ff_jax.render.camera import Camera
from ff_jax.render.gaussians import Gaussians
from ff_jax.render.renderer import RenderInput, RenderSettings
from ff_jax.scene import PointCloud, RenderedScene, Scene, SceneModel, SceneSizes, View, init_scene, render_scene
from ff_jax.train.batch import blank_batch, tree_bytes
from ff_jax.train.capacity import count_intersections
from ff_jax.train.config import ReconConfig
from ff_jax.train.optimizer import OptimConfig, ScheduleScale, make_optimizer
from ff_jax.train.state import init_state
from ff_jax.train.step import make_train_step
from kernels.project.specs import SceneSpec

_SCENES = flags.DEFINE_list("scenes", list(DEFAULT_SCENES), "Scenes of `experiments/benchmarks/scenes.py`.")
_CALLS = flags.DEFINE_integer("calls", 20, "Queued calls per measurement.", lower_bound=1, upper_bound=1_000_000)
_OUT = flags.DEFINE_string("out", "", "JSON file for the figures.")
_RATE = 1e-12  # learning rate: Adam runs, but no parameter changes
_RATES = ("means", "means_final", "quats", "log_scales", "logit_opacities", "sh_dc", "sh_rest", "sky", "exposure")
_NOISE = 0.05


def make_scene_and_view(spec: SceneSpec, arrays: dict[str, np.ndarray]) -> tuple[Scene, View]:
    """Make a static scene of the arrays, and the view of their camera."""
    a = {name: jnp.asarray(array) for name, array in arrays.items()}
    gaussians = to_gaussians(a | {"opacities": jnp.clip(a["opacities"], 1e-4, 1 - 1e-4)})
    count = len(a["means"])
    points = PointCloud(a["means"], jnp.zeros((count, 3)), jnp.ones(count))
    scene = init_scene(jax.random.key(0), points, SceneSizes(count, spec.sh_degree))
    scene = scene.replace(params=scene.params.replace(gaussians=gaussians))
    camera = Camera(a["K"], a["camera_from_world"], spec.width, spec.height)
    return scene, View(camera, jnp.int32(0), jnp.int32(-1), jnp.int32(-1), jnp.float32(0))


def training_call(scene: Scene, view: View, settings: RenderSettings, sh_degree: int) -> Callable[[], PyTree]:
    """Make a function that runs one training step."""
    optim = OptimConfig(**dict.fromkeys(_RATES, _RATE))
    recon = ReconConfig(sh_every=1, sh_degree=sh_degree, optim=optim)
    size = view.camera.height, view.camera.width
    image = jnp.asarray(np.random.default_rng(1).integers(0, 256, (*size, 3)), jnp.uint8)
    batch = blank_batch(view).replace(image=image, sky_known=jnp.bool_(True))
    step, scale = make_train_step(recon, settings), ScheduleScale(1.0, 30_000)
    # A step donates its state, but the scene is needed later.
    state = init_state(jax.random.key(0), jax.tree.map(jnp.copy, scene), make_optimizer(optim, scale))

    def call() -> PyTree:
        nonlocal state
        state, metrics = step(state, batch, scale)
        return state.step, metrics

    return call


def eig_calls(
    scene: Scene, view: View, settings: RenderSettings, sh_degree: int
) -> tuple[dict[str, Callable[[], PyTree]], dict[str, PyTree]]:
    """Make functions of the passes of EIG, by name; also return the accumulator and the posterior."""

    def render_view(scene: Scene, view: View) -> tuple[RenderedScene, RenderInput]:
        # Render and EIG use the same refined camera, so that XLA shares projection and tile lists.
        model = SceneModel(scene, settings, sh_degree)
        return render_scene(model, view), model.render_input(view)

    @functools.partial(jax.jit, donate_argnums=0)
    def accumulate(precision: eig.Precision, scene: Scene, view: View) -> tuple[RenderedScene, eig.Precision]:
        out, inputs = render_view(scene, view)
        return out, eig.accumulate(precision, inputs, out.linear, noise=_NOISE, alpha=out.alpha)

    @functools.partial(jax.jit, static_argnames="mode")
    def make_map(posterior: eig.Posterior, scene: Scene, view: View, mode: str) -> tuple[RenderedScene, Array]:
        out, inputs = render_view(scene, view)
        return out, eig.eig_map(posterior, inputs, out.linear, out.alpha, noise=_NOISE, mode=mode)

    @jax.jit
    def make_posterior(precision: eig.Precision, gaussians: Gaussians) -> eig.Posterior:
        return eig.posterior(precision, eig.Priors(), gaussians)

    render = jax.jit(lambda scene, view: render_view(scene, view)[0])
    gaussians = scene.params.gaussians
    precision = accumulate(eig.init_precision(gaussians), scene, view)[1]
    posterior = make_posterior(precision, gaussians)
    accumulate_again = with_state(accumulate, jax.tree.map(jnp.copy, precision))
    calls = {
        "render": lambda: render(scene, view),
        "fisher pass": lambda: accumulate_again(scene, view),
        "exact map": lambda: make_map(posterior, scene, view, "exact"),
        "trace map": lambda: make_map(posterior, scene, view, "trace"),
        "posterior": lambda: make_posterior(precision, gaussians),
    }
    return calls, {"accumulator": precision, "posterior": posterior}


def bytes_per_gaussian(sh_degree: int) -> dict[str, int]:
    """Compute the size of accumulator and posterior per Gaussian, bytes."""

    def make_both(count: int) -> tuple[eig.Precision, eig.Posterior]:
        shape = {"means": 3, "quats": 4, "log_scales": 3}
        rows = {name: jnp.ones((count, width)) for name, width in shape.items()}
        gaussians = Gaussians(**rows, logit_opacities=jnp.ones(count), sh=jnp.ones((count, (sh_degree + 1) ** 2, 3)))
        precision = eig.init_precision(gaussians)
        return precision, eig.posterior(precision, eig.Priors(), gaussians)

    one, two = (jax.eval_shape(functools.partial(make_both, count)) for count in (1, 2))
    sizes = [tree_bytes(more) - tree_bytes(less) for more, less in zip(two, one, strict=True)]
    return dict(zip(("accumulator", "posterior"), sizes, strict=True))


def bench(name: str) -> dict[str, Any]:
    """Measure all figures of one scene."""
    spec, arrays = load_scene(name)
    scene, view = make_scene_and_view(spec, arrays)
    num_intersections = count_intersections(scene, [view], RenderSettings(capacity=1))
    settings = RenderSettings(capacity=round_up(num_intersections, 1024))
    time_of = functools.partial(median_ms, wait=jax.block_until_ready, calls=_CALLS.value)
    # Training goes first: the state of its optimizer is freed before EIG begins.
    times = {"training step": time_of(training_call(scene, view, settings, spec.sh_degree))}
    calls, records = eig_calls(scene, view, settings, spec.sh_degree)
    times |= {key: time_of(call) for key, call in calls.items()}
    for key in ("fisher pass", "exact map", "trace map"):
        times[key] -= times["render"]
    return {
        "scene": name,
        "gaussians": spec.gaussians,
        "intersections": num_intersections,
        "ms": {key: round(value, 3) for key, value in times.items()},
        "share": {key: round(value / times["training step"], 3) for key, value in times.items()},
        "MB": {key: round(tree_bytes(value) / 1e6, 1) for key, value in records.items()},
    }


def main(_: list[str]) -> None:
    """Print one line per scene; write all figures."""
    check_scenes(_SCENES.value)
    print(jax.devices()[0].device_kind, "jax", jax.__version__)
    memory = {degree: bytes_per_gaussian(degree) for degree in range(4)}
    print(json.dumps({"bytes_per_gaussian": memory}))
    rows = []
    for name in _SCENES.value:
        rows.append(bench(name))
        print(json.dumps(rows[-1]), flush=True)
    if _OUT.value:
        Path(_OUT.value).write_text(json.dumps({"bytes_per_gaussian": memory, "scenes": rows}, indent=2))


if __name__ == "__main__":
    command_line.run(main)
