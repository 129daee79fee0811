"""The jnp form of every op lowers for a TPU: nothing in it depends on a CPU or a GPU."""

import jax
import jax.numpy as jnp
import pytest

from ff_jax import eig
from ff_jax.render.camera import Camera
from ff_jax.render.gaussians import Gaussians, WorldGaussians
from ff_jax.render.renderer import RenderInput, RenderSettings, render
from kernels.project.specs import TINY, make_scene
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

SETTINGS = RenderSettings(capacity=4096, antialiased=True, implementation="xla")


def scene() -> RenderInput:
    arrays = {name: jnp.asarray(array) for name, array in make_scene(TINY, seeded_rng()).items()}
    shape = (arrays["means"], arrays["quats"], jnp.log(arrays["scales"]))
    gaussians = Gaussians(*shape, arrays["opacities"], arrays["sh"])
    camera = Camera(arrays["K"], arrays["camera_from_world"], TINY.width, TINY.height)
    return RenderInput(WorldGaussians(gaussians, jnp.ones(TINY.gaussians, bool)), camera, SETTINGS)


def lowered(function, *arguments) -> str:
    exported = jax.export.export(jax.jit(function), platforms=["tpu"])(*arguments)
    assert exported.platforms == ("tpu",)
    return exported.mlir_module()


def test_a_render_and_its_gradient_lower_for_a_tpu():
    inputs = scene()

    def loss(gaussians, camera):
        view = render(RenderInput(WorldGaussians(gaussians, inputs.world.alive), camera, SETTINGS))
        return jnp.mean(view.rgb) + jnp.mean(view.depth) + jnp.mean(view.alpha)

    text = lowered(jax.value_and_grad(loss), inputs.world.gaussians, inputs.camera)
    assert "stablehlo.while" in text and "triton" not in text


def test_eig_lowers_for_a_tpu():
    def eig_of_view(gaussians, alive, camera):
        inputs = RenderInput(WorldGaussians(gaussians, alive), camera, SETTINGS)
        view = render(inputs)
        precision = eig.init_precision(gaussians)
        precision = eig.accumulate(precision, inputs, view.rgb, noise=0.05, alpha=view.alpha)
        posterior = eig.posterior(precision, eig.Priors(), gaussians)
        return eig.eig_map(posterior, inputs, view.rgb, view.alpha, noise=0.05)

    inputs = scene()
    assert "stablehlo.while" in lowered(eig_of_view, *inputs.world[:2], inputs.camera)
