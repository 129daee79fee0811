"""The jnp form of every op lowers for a TPU: nothing in it is bound to a CPU or a GPU."""

import jax
import jax.numpy as jnp
import numpy as np

from ff_jax import eig
from ff_jax.render.camera import Camera
from ff_jax.render.gaussians import Gaussians
from ff_jax.render.renderer import RenderSettings, render
from kernels.project.specs import TINY, make_scene

SETTINGS = RenderSettings(capacity=4096, antialiased=True, implementation="xla")


def scene() -> tuple[Gaussians, jax.Array, Camera]:
    arrays = {name: jnp.asarray(array) for name, array in make_scene(TINY, np.random.default_rng()).items()}
    shape = (arrays["means"], arrays["quats"], jnp.log(arrays["scales"]))
    gaussians = Gaussians(*shape, arrays["opacities"], arrays["sh"])
    camera = Camera(arrays["K"], arrays["camera_from_world"], TINY.width, TINY.height)
    return gaussians, jnp.ones(TINY.gaussians, bool), camera


def lowered(function, *arguments) -> str:
    exported = jax.export.export(jax.jit(function), platforms=["tpu"])(*arguments)
    assert exported.platforms == ("tpu",)
    return exported.mlir_module()


def test_a_render_and_its_gradient_lower_for_a_tpu():
    def loss(gaussians, alive, camera):
        view = render(gaussians, alive, camera, SETTINGS)
        return jnp.mean(view.rgb) + jnp.mean(view.depth) + jnp.mean(view.alpha)

    text = lowered(jax.value_and_grad(loss), *scene())
    assert "stablehlo.while" in text and "triton" not in text


def test_eig_lowers_for_a_tpu():
    gaussians, alive, camera = scene()

    def gain(gaussians, alive, camera):
        view = render(gaussians, alive, camera, SETTINGS)
        precision = eig.init_precision(gaussians)
        precision = eig.accumulate(
            precision, gaussians, alive, camera, view.rgb, SETTINGS, noise=0.05, alpha=view.alpha
        )
        known = eig.posterior(precision, eig.Priors(), gaussians)
        return eig.eig_map(gaussians, alive, known, camera, view.rgb, view.alpha, SETTINGS, noise=0.05)

    assert "stablehlo.while" in lowered(gain, gaussians, alive, camera)
