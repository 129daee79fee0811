"""What EIG costs beside training: times as a share of one training step, and memory per Gaussian.

    python -m experiments.benchmarks.eig                                 # 112k, 2.8 million and 500k captured Gaussians
    python -m experiments.benchmarks.eig --scenes=300_64x48 --calls=1    # seconds on a CPU

One line of JSON per scene. The training step is the program's own (`ff_jax.train.step`): render over the sky network,
losses, gradient, Adam and exploration of every parameter; its rates are so small that the scene stays what it was.
The other times are what is added to a render in the same program, so projection and tile lists are counted once:
the Fisher pass of one recorded view, the exact map, and the trace bound. The posterior is computed once for all maps
that are made at a time. `share` is the time over that of one training step. Memory is what the accumulator and
the posterior keep of every Gaussian, in bytes, by the highest band of spherical harmonics.
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

from experiments.benchmarks.scenes import USUAL, check_scenes, in_place, load, median_ms
from experiments.cli import command_line
from ff_jax import eig
from ff_jax.render.camera import Camera
from ff_jax.render.gaussians import Gaussians
from ff_jax.render.renderer import RenderSettings
from ff_jax.scene import Scene, compose, init_scene, refined_camera, render_scene
from ff_jax.scene.scene import View
from ff_jax.train.loop import count_needed
from ff_jax.train.state import OptimConfig, Pace, init_state, make_optimizer
from ff_jax.train.step import Batch, ReconConfig, make_train_step, tree_bytes
from kernels.project.specs import SceneSpec

_SCENES = flags.DEFINE_list("scenes", list(USUAL), "Scenes of `experiments/benchmarks/scenes.py`.")
_CALLS = flags.DEFINE_integer("calls", 20, "Queued calls per measurement.", lower_bound=1)
_OUT = flags.DEFINE_string("out", "", "JSON file for the figures.")
_STILL = 1e-12  # learning rate: Adam works, nothing moves
_RATES = ("means", "means_final", "quats", "log_scales", "logit_opacities", "sh_dc", "sh_rest", "sky", "exposure")
_NOISE = 0.05


def make_world(spec: SceneSpec, arrays: dict[str, np.ndarray]) -> tuple[Scene, View]:
    """Return a static scene of the arrays, and the view of their camera."""
    a = {name: jnp.asarray(array) for name, array in arrays.items()}
    opacity = jnp.clip(a["opacities"], 1e-4, 1 - 1e-4)
    gaussians = Gaussians(a["means"], a["quats"], jnp.log(a["scales"]), jnp.log(opacity / (1 - opacity)), a["sh"])
    count = len(a["means"])
    sizes = {"capacity": count, "sh_degree": spec.sh_degree, "exposures": 1, "frames": 1, "cameras": 1}
    scene = init_scene(jax.random.key(0), a["means"], jnp.zeros((count, 3)), jnp.ones(count), **sizes)
    scene = scene.replace(params=scene.params.replace(gaussians=gaussians))
    camera = Camera(a["K"], a["camera_from_world"], spec.width, spec.height)
    return scene, View(camera, jnp.int32(0), jnp.int32(-1), jnp.int32(-1), jnp.float32(0))


def training(scene: Scene, view: View, settings: RenderSettings, sh_degree: int) -> Callable[[], Any]:
    """Return a call that takes one training step."""
    optim = OptimConfig(**dict.fromkeys(_RATES, _STILL))
    recon = ReconConfig(sh_every=1, sh_degree=sh_degree, optim=optim)
    size = view.camera.height, view.camera.width
    batch = Batch(
        image=jnp.asarray(np.random.default_rng(1).integers(0, 256, (*size, 3)), jnp.uint8),
        weight=jnp.ones(size),
        view=view,
        sky=jnp.zeros(size, bool),
        sky_known=jnp.bool_(True),
        lidar=jnp.zeros(size),
        novel=jnp.bool_(False),
        dynamic=jnp.zeros(size, bool),
    )
    step, pace = make_train_step(recon, settings), Pace(1.0, 30_000)
    # A step consumes the state that it is given: the scene itself is needed further.
    state = init_state(jax.random.key(0), jax.tree.map(jnp.copy, scene), make_optimizer(optim, pace))

    def call() -> Any:
        nonlocal state
        state, shown = step(state, batch, pace)
        return state.step, shown

    return call


def eig_calls(scene: Scene, view: View, settings: RenderSettings, sh_degree: int) -> tuple[dict[str, Callable], dict]:
    """Return calls of what EIG needs, and what the accumulator and the posterior are."""

    def seen(scene: Scene, view: View) -> tuple:
        # The camera of the render, not its recorded one: then projection and lists of tiles are those of the render.
        return (
            render_scene(scene, view, settings, sh_degree),
            compose(scene, view.time),
            refined_camera(scene.params, view),
        )

    @functools.partial(jax.jit, donate_argnums=0)
    def observe(precision: eig.Precision, scene: Scene, view: View) -> tuple:
        image, (gaussians, alive, _), camera = seen(scene, view)
        options = {"noise": _NOISE, "alpha": image.alpha, "sh_degree": sh_degree}
        return image, eig.accumulate(precision, gaussians, alive, camera, image.linear, settings, **options)

    @functools.partial(jax.jit, static_argnames="mode")
    def look(posterior: eig.Posterior, scene: Scene, view: View, mode: str) -> tuple:
        image, (gaussians, alive, _), camera = seen(scene, view)
        arguments = gaussians, alive, posterior, camera, image.linear, image.alpha, settings
        return image, eig.eig_map(*arguments, noise=_NOISE, mode=mode, sh_degree=sh_degree)

    believe = jax.jit(lambda precision, gaussians: eig.posterior(precision, eig.Priors(), gaussians))
    draw = jax.jit(lambda scene, view: seen(scene, view)[0])
    nothing, gaussians = eig.init_precision(scene.params.gaussians), scene.params.gaussians
    precision = observe(nothing, scene, view)[1]
    posterior = believe(precision, gaussians)
    see = in_place(observe, jax.tree.map(jnp.copy, precision))
    calls = {
        "render": lambda: draw(scene, view),
        "fisher pass": lambda: see(scene, view),
        "exact map": lambda: look(posterior, scene, view, "exact"),
        "trace map": lambda: look(posterior, scene, view, "trace"),
        "posterior": lambda: believe(precision, gaussians),
    }
    return calls, {"accumulator": precision, "posterior": posterior}


def bytes_per_gaussian(sh_degree: int) -> dict[str, int]:
    """Return what accumulator and posterior keep of one Gaussian, bytes."""

    def kept(count: int) -> tuple[eig.Precision, eig.Posterior]:
        shape = {"means": 3, "quats": 4, "log_scales": 3}
        rows = {name: jnp.ones((count, width)) for name, width in shape.items()}
        gaussians = Gaussians(**rows, logit_opacities=jnp.ones(count), sh=jnp.ones((count, (sh_degree + 1) ** 2, 3)))
        precision = eig.init_precision(gaussians)
        return precision, eig.posterior(precision, eig.Priors(), gaussians)

    one, two = (jax.eval_shape(functools.partial(kept, count)) for count in (1, 2))
    sizes = [tree_bytes(more) - tree_bytes(less) for more, less in zip(two, one, strict=True)]
    return dict(zip(("accumulator", "posterior"), sizes, strict=True))


def bench(name: str) -> dict[str, Any]:
    """Return all figures of one scene."""
    spec, arrays = load(name)
    scene, view = make_world(spec, arrays)
    needed = count_needed(scene, [view], RenderSettings(capacity=1))
    settings = RenderSettings(capacity=-(-needed * 9 // 8 // 1024) * 1024)
    time_of = functools.partial(median_ms, wait=jax.block_until_ready, calls=_CALLS.value)
    # The state of the optimizer is gone before EIG begins.
    times = {"training step": time_of(training(scene, view, settings, spec.sh_degree))}
    calls, kept = eig_calls(scene, view, settings, spec.sh_degree)
    times |= {key: time_of(call) for key, call in calls.items()}
    for key in ("fisher pass", "exact map", "trace map"):
        times[key] -= times["render"]
    return {
        "scene": name,
        "gaussians": spec.gaussians,
        "intersections": needed,
        "ms": {key: round(value, 3) for key, value in times.items()},
        "share": {key: round(value / times["training step"], 3) for key, value in times.items()},
        "MB": {key: round(tree_bytes(value) / 1e6, 1) for key, value in kept.items()},
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
