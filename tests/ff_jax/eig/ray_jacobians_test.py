"""The single-ray oracle against finite differences in double precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ff_jax.eig import perturb
from ff_jax.eig.ray_jacobians import ray_jacobians, render_ray
from ff_jax.render.camera import Camera
from ff_jax.render.gaussians import Gaussians
from ff_jax.render.renderer import RenderSettings

QUICK = {"xla_backend_optimization_level": 0}  # compiling is what takes time
SETTINGS = RenderSettings(capacity=1, antialiased=True)  # a ray needs no lists
N, K = 4, 1  # one band: the direction in which colours are seen counts as fixed


def scene(rng):
    """A few large Gaussians, the last one dead, and a camera, in the default precision."""
    sh = rng.normal(0, 0.1, (N, K, 3)) + 0.4 * (np.arange(K) == 0)[:, None]
    fields = dict(
        means=rng.uniform([-0.5, -0.5, 3], [0.5, 0.5, 5], (N, 3)),
        quats=rng.normal(size=(N, 4)),
        log_scales=rng.uniform(-1.2, -0.3, (N, 3)),
        logit_opacities=rng.uniform(-1, 1, N),
        sh=sh,
    )
    gaussians = Gaussians(**{k: jnp.asarray(v) for k, v in fields.items()})
    K_matrix = jnp.asarray(np.array([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]]))
    return gaussians, jnp.arange(N) < N - 1, Camera(K_matrix, jnp.asarray(np.eye(4)), 32, 24)


def test_jacobians_equal_finite_differences():
    rng = np.random.default_rng()
    with jax.enable_x64():
        gaussians, alive, camera = scene(rng)
        pixels, backgrounds = jnp.asarray(rng.uniform(6, 18, (5, 2))), jnp.asarray(rng.random((5, 3)))
        differentiate = jax.jit(
            lambda *scene: ray_jacobians(*scene, pixels, SETTINGS, backgrounds), compiler_options=QUICK
        )
        colors, J = differentiate(gaussians, alive, camera)
        delta, sh, behind = (jnp.asarray(rng.normal(size=s)) for s in ((N, 10), (N, K, 3), (5, 3)))

        @functools.partial(jax.jit, compiler_options=QUICK)
        def shown(step):
            moved = perturb(gaussians, step * delta).replace(sh=gaussians.sh + step * sh)

            def ray(pixel, color):
                return render_ray(moved, alive, camera, pixel, SETTINGS, color)

            return jax.vmap(ray)(pixels, backgrounds + step * behind)

        np.testing.assert_allclose(colors, shown(0.0), rtol=1e-12)
        numeric = (shown(1e-6) - shown(-1e-6)) / 2e-6
        got = jnp.einsum("pcni,ni->pc", J.geometry, delta) + jnp.einsum("pcnkd,nkd->pc", J.sh, sh)
        got += jnp.einsum("pcd,pd->pc", J.background, behind)
        np.testing.assert_allclose(got, numeric, rtol=1e-4, atol=1e-7)
        assert not J.geometry[:, :, -1].any() and not J.sh[:, :, -1].any()
        assert np.abs(J.geometry[:, :, :-1]).max((0, 1, 2)).all()
