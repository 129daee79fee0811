"""The Fisher information of views against Jacobians of single rays, over large ranges of precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax import eig
from ff_jax.render.renderer import RenderInput, render
from kernels import unpack_symmetric
from tests.ff_jax.eig.problems import (
    SETTINGS,
    add_view,
    all_rays,
    dense_covariance_of_pixels,
    dense_covariances,
    dense_information,
    distinct_world,
    eig_maps,
    exact_eig,
    in_units_of,
    jacobian64,
    posterior_of,
)
from tests.random_inputs import seeded_rng
from tests.scenes import pinhole, quick, random_world

pytestmark = pytest.mark.slow

W, H, N, NOISE = 15, 12, 7, 0.05
FIRST, SECOND, NEW = pinhole(W, H, 14.0), pinhole(W, H, 14.0, 0.4, yaw=-0.1), pinhole(W, H, 14.0, 0.5, 0.2, 0.05)
BACKGROUND = jnp.broadcast_to(jnp.array([0.2, 0.5, 0.9]), (H, W, 3))


@pytest.fixture
def world():
    return distinct_world(seeded_rng(), N, (FIRST, SECOND, NEW))


def observe(precision, world, camera, **options):
    """Add a view to a precision, without its background."""
    return add_view(precision, RenderInput(world, camera, SETTINGS), BACKGROUND, NOISE, **options)


def assert_close(matrices, expected, tolerance):
    """Compare matrices relative to the units of their rows and columns."""
    np.testing.assert_allclose(in_units_of(expected, matrices), in_units_of(expected, expected), atol=tolerance)


def test_rays_have_the_colors_of_the_renderer(world):
    inputs = RenderInput(world, NEW, SETTINGS)
    colors, _ = all_rays(inputs, BACKGROUND)
    image = quick(lambda inputs: render(inputs, background=BACKGROUND).rgb)(inputs)
    np.testing.assert_allclose(colors, image.reshape(-1, 3), atol=1e-5)


def test_precision_is_the_sum_of_squared_ray_jacobians(world):
    precision, expected = None, [0, 0]
    for camera in (FIRST, SECOND):
        precision = observe(precision, world, camera)
        part = dense_information(jacobian64(RenderInput(world, camera, SETTINGS), BACKGROUND), NOISE)
        expected = [total + block for total, block in zip(expected, part, strict=True)]
    assert_close(unpack_symmetric(precision.geometry, 10), expected[0], 1e-4)
    assert_close(unpack_symmetric(precision.color, 4), expected[1], 1e-4)
    assert not precision.geometry[-1].any() and not precision.color[-1].any()


def test_squared_random_gradients_average_to_the_diagonal_of_the_precision(world):
    signs = jnp.asarray(seeded_rng().choice([-1.0, 1.0], (400, H, W, 3)), jnp.float32)

    def image_of(delta):
        moved = world._replace(gaussians=eig.perturb(world.gaussians, delta))
        return render(RenderInput(moved, FIRST, SETTINGS), background=BACKGROUND).rgb

    _, vjp = jax.vjp(image_of, jnp.zeros((N, 10)))
    samples = quick(lambda signs: jax.lax.map(lambda sign: vjp(sign)[0] ** 2, signs))(signs) / NOISE**2
    precision = observe(None, world, FIRST)
    diagonal = jnp.diagonal(unpack_symmetric(precision.geometry, 10), axis1=-2, axis2=-1)
    error = samples.std(0) / np.sqrt(len(signs))
    z = (samples.mean(0) - diagonal)[:-1] / (error[:-1] + 1e-6 * diagonal[:-1] + 1e-9)
    assert np.mean(np.abs(z) < 3) > 0.9 and np.abs(z).max() < 6


def test_removing_a_view_undoes_adding_it(world):
    one = observe(None, world, FIRST)
    both = observe(one, world, SECOND)
    back = observe(both, world, SECOND, sign=-1.0)
    scale = jnp.abs(both.geometry).max(0) + 1e-9
    np.testing.assert_allclose(back.geometry / scale, one.geometry / scale, atol=1e-5)
    weightless = observe(one, world, SECOND, weight=jnp.zeros((H, W)))
    np.testing.assert_array_equal(weightless.geometry, one.geometry)


# ---- Gaussians with free space around them, and a background that counts

SPARSE_W, SPARSE_H = 12, 10
GRAY = jnp.full((SPARSE_H, SPARSE_W, 3), 0.4)


@pytest.fixture(scope="module")
def seed():
    return int(seeded_rng().integers(1 << 31))


@pytest.fixture(scope="module")
def sparse_world(seed):
    options = dict(box=((-0.9, -0.8, 3), (0.9, 0.8, 6)), stds=(0.15, 0.4), logits=(-1, 2), coefficients=1)
    return random_world(np.random.default_rng(seed), 6, num_dead=0, color_std=0.1, **options)


def sparse_view(world, x):
    return RenderInput(world, pinhole(SPARSE_W, SPARSE_H, 11.0, x), SETTINGS)


def observe_sparse(precision, world, x, noise=NOISE, sign=1.0):
    return add_view(precision, sparse_view(world, x), GRAY, noise, sign=sign, has_background=True)


def sparse_eig(precision, world, x, **priors):
    posterior = posterior_of(precision, eig.Priors(**priors), world.gaussians)
    return eig_maps(posterior, sparse_view(world, x), GRAY, NOISE, modes=("exact",))["exact"]


def test_precision_and_map_are_right_over_twelve_orders_of_magnitude(sparse_world, seed):
    views = [(-0.4, 1e-4), (0.0, 1e-1), (0.4, 1e2)]  # 1 / noise^2: 1e8 to 1e-4
    precision, geometry, color = None, 0.0, 0.0
    for x, noise in views:
        precision = observe_sparse(precision, sparse_world, x, noise)
        part = dense_information(jacobian64(sparse_view(sparse_world, x), GRAY), noise)
        geometry, color = geometry + part[0], color + part[1]
    scale = np.sqrt(np.einsum("nii,njj->nij", geometry, geometry))
    result = np.asarray(unpack_symmetric(precision.geometry, 10), np.float64)
    np.testing.assert_allclose(result / scale, geometry / scale, atol=2e-4, err_msg=f"{seed=}")
    np.testing.assert_allclose(unpack_symmetric(precision.color, 1), color, rtol=1e-3, err_msg=f"{seed=}")

    priors = eig.Priors(background=0.0)
    J = jacobian64(sparse_view(sparse_world, 0.2), GRAY)
    covariances = dense_covariances((geometry, color), priors, sparse_world.gaussians)
    expected = exact_eig(dense_covariance_of_pixels(J, covariances, 0.0, NOISE))
    result = np.asarray(sparse_eig(precision, sparse_world, 0.2, background=0.0), np.float64).reshape(-1)
    np.testing.assert_allclose(result, expected, rtol=0.05, atol=0.02, err_msg=f"{seed=}")


def test_the_eig_of_the_background_never_increases_and_falls_where_it_was_observed(sparse_world, seed):
    precision, last = eig.init_precision(sparse_world.gaussians), None
    for x in (None, -0.4, 0.0, 0.4):
        if x is not None:
            precision = observe_sparse(precision, sparse_world, x)
        current = sparse_eig(precision, sparse_world, 0.2)
        assert last is None or (current <= last + 1e-4).all(), seed
        last = current
    corner = float(last[0, 0])  # free space, observed in three views
    assert corner < 1.5 * np.log1p(1.0), (seed, corner)
    back = observe_sparse(precision, sparse_world, 0.4, sign=-1.0)
    again = observe_sparse(back, sparse_world, 0.4)
    np.testing.assert_allclose(again.background, precision.background, rtol=1e-5, atol=1e-3)


def test_pseudo_views_have_their_own_precision(sparse_world):
    """A precision of its own leaves the recorded one unchanged; the noise of a pseudo-view scales its information."""
    recorded = observe_sparse(None, sparse_world, 0.0)
    pseudo = observe_sparse(None, sparse_world, 0.4, 10 * NOISE)
    observed = observe_sparse(None, sparse_world, 0.4)
    np.testing.assert_allclose(100 * pseudo.geometry, observed.geometry, rtol=1e-4, atol=1e-3)

    def total_eig(precision):
        return float(sparse_eig(precision, sparse_world, 0.4).sum())

    with_pseudo, with_observed = (jax.tree.map(jnp.add, recorded, other) for other in (pseudo, observed))
    assert total_eig(recorded) > total_eig(with_pseudo) > total_eig(with_observed)
