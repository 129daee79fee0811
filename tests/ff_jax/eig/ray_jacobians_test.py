"""Jacobians of single rays against finite differences in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.eig.ray_jacobians import perturbed_ray, ray_jacobians
from ff_jax.render.camera import Camera
from ff_jax.render.renderer import RenderInput, RenderSettings
from tests.random_inputs import seeded_rng
from tests.scenes import quick, random_world

pytestmark = pytest.mark.slow

SETTINGS = RenderSettings(capacity=1, antialiased=True)  # a ray needs no tile lists
N, K = 4, 1  # one band: the direction of view counts as fixed


def inputs_of(rng) -> RenderInput:
    """A view of a few large Gaussians, the last one dead, in the default precision."""
    options = dict(box=((-0.5, -0.5, 3), (0.5, 0.5, 5)), stds=(np.exp(-1.2), np.exp(-0.3)), logits=(-1, 1))
    world = random_world(rng, N, coefficients=K, color_std=0.1, dtype=float, **options)
    intrinsics = jnp.asarray(np.array([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]]))
    return RenderInput(world, Camera(intrinsics, jnp.asarray(np.eye(4)), 32, 24), SETTINGS)


def test_jacobians_equal_finite_differences():
    rng = seeded_rng()
    with jax.enable_x64():
        inputs = inputs_of(rng)
        pixels, backgrounds = jnp.asarray(rng.uniform(6, 18, (5, 2))), jnp.asarray(rng.random((5, 3)))
        colors, J = quick(ray_jacobians)(inputs, pixels, backgrounds)
        delta, sh, behind = (jnp.asarray(rng.normal(size=s)) for s in ((N, 10), (N, K, 3), (5, 3)))

        @quick
        def colors_at(step):
            coefficients = inputs.world.gaussians.sh + step * sh

            def ray(pixel, color):
                return perturbed_ray(inputs, step * delta, coefficients, color, pixel)

            return jax.vmap(ray)(pixels, backgrounds + step * behind)

        np.testing.assert_allclose(colors, colors_at(0.0), rtol=1e-12)
        numeric = (colors_at(1e-6) - colors_at(-1e-6)) / 2e-6
        analytic = jnp.einsum("pcni,ni->pc", J.geometry, delta) + jnp.einsum("pcnkd,nkd->pc", J.sh, sh)
        analytic += jnp.einsum("pcd,pd->pc", J.background, behind)
        np.testing.assert_allclose(analytic, numeric, rtol=1e-4, atol=1e-7)
        assert not J.geometry[:, :, -1].any() and not J.sh[:, :, -1].any()
        assert np.abs(J.geometry[:, :, :-1]).max((0, 1, 2)).all()
