"""The released formula against a direct evaluation of its statement, pixel by pixel and entry by entry."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from ff_jax.eig import released_formula
from ff_jax.render.camera import make_camera
from ff_jax.render.gaussians import Gaussians
from ff_jax.render.renderer import RenderSettings, bin_gaussians, project_gaussians
from kernels.project import project, sh_basis

W, H, N = 20, 18, 9  # two tiles by two
SETTINGS = RenderSettings(capacity=256, tile=8, implementation="xla")
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
informed = quick(released_formula.train_information, static_argnames="settings")


def scene(rng):
    """Overlapping Gaussians of nine coefficients, of which the formula reads four; some cut at 0, the last dead."""
    fields = dict(
        means=rng.uniform([-1.2, -1, 3], [1.2, 1, 6], (N, 3)),
        quats=rng.normal(size=(N, 4)),
        log_scales=rng.uniform(np.log(0.15), np.log(0.6), (N, 3)),
        logit_opacities=rng.uniform(-1.5, 3.5, N),
        sh=rng.normal(0, 0.4, (N, 9, 3)),
    )
    return Gaussians(**{k: jnp.asarray(v, jnp.float32) for k, v in fields.items()}), jnp.arange(N) < N - 1


def camera(x=0.0):
    pose = np.eye(4)
    pose[0, 3] = x
    return make_camera(np.array([[16.0, 0, W / 2], [0, 16.0, H / 2], [0, 0, 1]]), pose, W, H)


@quick
def entries(gaussians, alive, cam):
    """d (sum of the channels) / d entry of every pixel, as (P, N, entries), and alpha in depth order (P, N)."""
    y, x = jnp.indices((H, W)) + 0.5
    pixels = jnp.stack([x, y], -1).reshape(-1, 2)
    unit = gaussians.quats / jnp.linalg.norm(gaussians.quats, axis=-1, keepdims=True)
    start = (
        gaussians.means,
        jnp.exp(gaussians.log_scales),
        unit,
        jnp.where(alive, jax.nn.sigmoid(gaussians.logit_opacities), 0.0),
        gaussians.sh[:, :4],
    )

    def brightness(parameters, pixel):
        means, scales, quats, opacity, sh = parameters
        lens = dict(width=W, height=H, eps2d=SETTINGS.eps2d, near=SETTINGS.near)
        out = project(means, quats, scales, opacity, sh, cam.camera_from_world, cam.K, **lens)
        towards = means - cam.world_from_camera[:3, 3]
        basis = sh_basis(towards / jnp.linalg.norm(towards, axis=-1, keepdims=True), 4)
        color = jnp.maximum(jnp.einsum("nk,nkc->nc", basis, sh) + 0.5, 0)
        dx, dy = (out.mean2d - pixel).T
        a, b, c = out.conic.T
        alpha = jnp.minimum(out.opacity * jnp.exp(-0.5 * (a * dx**2 + c * dy**2) - b * dx * dy), 0.999)
        alpha = jnp.where(alpha >= 1 / 255, alpha, 0)
        order = jnp.argsort(jnp.where(out.opacity > 0, out.depth, jnp.inf))
        T = jnp.concatenate([jnp.ones(1), jnp.cumprod(1 - alpha[order])[:-1]])
        weight = jnp.zeros(N).at[order].set(alpha[order] * T)
        return jnp.sum(weight @ color), (alpha, weight, out.depth)

    differentiate = jax.vmap(jax.grad(brightness, has_aux=True), (None, 0))
    parts, (alpha, weight, depth) = differentiate(start, pixels)
    return jnp.concatenate([p.reshape(len(pixels), N, -1) for p in parts], -1), alpha, weight, depth


def places(gaussians, alive, cam, alpha):
    """n_p from the tile lists, by a plain loop."""
    settings = dataclasses.replace(SETTINGS, tile=16)
    bins = bin_gaussians(project_gaussians(gaussians, alive, cam, settings, 1), cam, settings)
    starts, ids, found = np.asarray(bins.tile_starts), np.asarray(bins.ids), np.zeros(H * W)
    for p in range(H * W):
        tile, T = (p // W) // 16 * 2 + (p % W) // 16, 1.0
        for place, i in enumerate(ids[starts[tile] : starts[tile + 1]], 1):
            if alpha[p, i] > 0:
                if T * (1 - alpha[p, i]) < 1e-4:
                    break
                T *= 1 - alpha[p, i]
                found[p] = place
    return found


def test_map_equals_the_statement_of_the_released_formula():
    rng = np.random.default_rng()
    gaussians, alive = scene(rng)
    sky = rng.uniform(0.5, 1.0, (H, W)).astype(np.float32)
    views = [camera(), camera(0.4)]
    want, got = np.zeros(N), 0
    for view in views:
        D, alpha, _, _ = (np.asarray(x, np.float64) for x in entries(gaussians, alive, view))
        n = places(gaussians, alive, view, alpha)
        w = (sky.reshape(-1) < 0.9) / np.maximum(n, 1)
        want += ((w[:, None, None] * D) ** 2).sum((0, 2))
        got += informed(gaussians, alive, view, sky, SETTINGS)
    np.testing.assert_allclose(got, want, rtol=2e-3, atol=1e-6 * want.max())

    new = camera(-0.3)
    D, alpha, weight, depth = (np.asarray(x, np.float64) for x in entries(gaussians, alive, new))
    g = (D**2).sum((0, 2)) / (want + 1e-6)
    n, opacity = places(gaussians, alive, new, alpha), weight.sum(1)
    G = np.where((weight * depth).sum(1) / np.maximum(opacity, 1e-10) > 0.1, weight @ g, 0) / np.maximum(n, 1) / 1000
    E = np.where(opacity < 0.1, 100.0, np.log1p(G) + 1e-9)
    got = quick(released_formula.gain_map, static_argnames="settings")(
        jnp.asarray(want, jnp.float32), gaussians, alive, new, SETTINGS
    )
    off = np.abs(opacity - 0.1) < 1e-4  # the sentinel may fall on either side
    np.testing.assert_allclose(np.asarray(got).reshape(-1)[~off], E[~off], rtol=5e-3)


def test_an_empty_scene_shows_the_sentinel():
    gaussians, alive = scene(np.random.default_rng())
    dead = jnp.zeros_like(alive)
    got = released_formula.gain_map(jnp.zeros(N), gaussians, dead, camera(), SETTINGS)
    np.testing.assert_array_equal(got, released_formula.SENTINEL)
