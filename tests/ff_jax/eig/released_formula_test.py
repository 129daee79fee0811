"""The released formula against a direct evaluation of its statement, pixel by pixel and entry by entry."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.eig.released_formula import SENTINEL, released_map, train_information
from ff_jax.render.renderer import RenderInput, RenderSettings, bin_gaussians, project_gaussians
from kernels import CameraMatrices, Gaussians3D, ProjectionOptions, project, sh_basis
from tests.random_inputs import seeded_rng
from tests.scenes import pinhole, pixel_centers, quick, random_world

pytestmark = pytest.mark.slow

W, H, N = 20, 18, 9  # two tiles by two
SETTINGS = RenderSettings(capacity=256, tile=8, implementation="xla")


def random_view(rng, x=0.0) -> RenderInput:
    """Make a view of Gaussians with nine coefficients, of which the formula reads four; some are clipped at 0."""
    world = random_world(rng, N, stds=(0.15, 0.6), logits=(-1.5, 3.5), coefficients=9, color_std=0.4, brightness=0.0)
    return RenderInput(world, camera(x), SETTINGS)


def camera(x=0.0):
    return pinhole(W, H, 16.0, x)


@quick
def entries(inputs):
    """Compute d (sum of the channels) / d entry of every pixel, (P, N, entries); alpha, weights (P, N) and depths."""
    gaussians, alive, _ = inputs.world
    cam, pixels = inputs.camera, pixel_centers(inputs.camera)
    parameters = (
        gaussians.means,
        jnp.exp(gaussians.log_scales),
        gaussians.quats / jnp.linalg.norm(gaussians.quats, axis=-1, keepdims=True),
        jnp.where(alive, jax.nn.sigmoid(gaussians.logit_opacities), 0.0),
        gaussians.sh[:, :4],
    )

    def brightness(parameters, pixel):
        means, scales, quats, opacity, sh = parameters
        options = ProjectionOptions(W, H, eps2d=SETTINGS.eps2d, near=SETTINGS.near)
        world = Gaussians3D(means, quats, scales, opacity, sh)
        out = project(world, CameraMatrices(cam.camera_from_world, cam.K), options)
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
    parts, (alpha, weight, depth) = differentiate(parameters, pixels)
    return jnp.concatenate([p.reshape(len(pixels), N, -1) for p in parts], -1), alpha, weight, depth


def entries64(inputs):
    return (np.asarray(x, np.float64) for x in entries(inputs))


def last_places(inputs, alpha):
    """Compute n_p from the tile lists, by a plain loop."""
    settings = dataclasses.replace(SETTINGS, tile=16)
    inputs = inputs.replace(settings=settings, sh_degree=1)
    bins = bin_gaussians(project_gaussians(inputs), inputs.camera, settings)
    starts, ids, places = np.asarray(bins.tile_starts), np.asarray(bins.ids), np.zeros(H * W)
    for p in range(H * W):
        tile, T = (p // W) // 16 * 2 + (p % W) // 16, 1.0
        for place, i in enumerate(ids[starts[tile] : starts[tile + 1]], 1):
            if alpha[p, i] > 0:
                if T * (1 - alpha[p, i]) < 1e-4:
                    break
                T *= 1 - alpha[p, i]
                places[p] = place
    return places


def test_map_equals_the_statement_of_the_released_formula():
    rng = seeded_rng()
    first = random_view(rng)
    sky = rng.uniform(0.5, 1.0, (H, W)).astype(np.float32)
    expected, information = np.zeros(N), 0
    for view in (first, first.replace(camera=camera(0.4))):
        D, alpha, _, _ = entries64(view)
        w = (sky.reshape(-1) < 0.9) / np.maximum(last_places(view, alpha), 1)
        expected += ((w[:, None, None] * D) ** 2).sum((0, 2))
        information += quick(train_information)(view, sky)
    np.testing.assert_allclose(information, expected, rtol=2e-3, atol=1e-6 * expected.max())

    new = first.replace(camera=camera(-0.3))
    D, alpha, weight, depth = entries64(new)
    g = (D**2).sum((0, 2)) / (expected + 1e-6)
    n, opacity = last_places(new, alpha), weight.sum(1)
    G = np.where((weight * depth).sum(1) / np.maximum(opacity, 1e-10) > 0.1, weight @ g, 0) / np.maximum(n, 1) / 1000
    E = np.where(opacity < 0.1, 100.0, np.log1p(G) + 1e-9)
    result = np.asarray(quick(released_map)(jnp.asarray(expected, jnp.float32), new)).reshape(-1)
    is_clear = np.abs(opacity - 0.1) >= 1e-4  # at the threshold of the sentinel both values are right
    np.testing.assert_allclose(result[is_clear], E[is_clear], rtol=5e-3)


def test_an_empty_scene_gives_the_sentinel():
    view = random_view(seeded_rng())
    dead = view.replace(world=view.world._replace(alive=jnp.zeros(N, bool)))
    np.testing.assert_array_equal(released_map(jnp.zeros(N), dead), SENTINEL)
