"""The EIG map against Jacobians of single rays, its bounds and its invariances."""

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np
import pytest

from ff_jax import eig
from ff_jax.eig.ray_jacobians import ray_eig
from ff_jax.render.gaussians import WorldGaussians
from ff_jax.render.renderer import RenderInput
from kernels import unpack_symmetric
from tests.ff_jax.eig.problems import (
    SETTINGS,
    add_view,
    dense_covariance_of_pixels,
    dense_covariances,
    distinct_world,
    eig_maps,
    exact_eig,
    jacobian64,
    posterior_of,
    to_float64,
)
from tests.random_inputs import seeded_rng
from tests.scenes import pinhole, pixel_centers, quick

W, H, N, NOISE = 15, 12, 7, 0.05
FIRST, SECOND, NEW = pinhole(W, H, 14.0), pinhole(W, H, 14.0, 0.4, yaw=-0.1), pinhole(W, H, 14.0, 0.5, 0.2, 0.05)
BACKGROUND = jnp.broadcast_to(jnp.array([0.2, 0.5, 0.9]), (H, W, 3))
PRIORS = eig.Priors()


@pytest.fixture
def world():
    return distinct_world(seeded_rng(), N, (FIRST, SECOND, NEW))


def observe(precision, world, camera):
    """Add a view to a precision, without its background."""
    return add_view(precision, RenderInput(world, camera, SETTINGS), BACKGROUND, NOISE)


def prior_posterior(world, priors=PRIORS):
    """Compute the posterior without any view."""
    return posterior_of(eig.init_precision(world.gaussians), priors, world.gaussians)


def maps_of(world, posterior, camera):
    return eig_maps(posterior, RenderInput(world, camera, SETTINGS), BACKGROUND, NOISE)


@pytest.mark.parametrize("structure", ["block", "diag"])
def test_map_equals_brute_force(world, structure):
    precision = observe(None, world, FIRST)
    maps = maps_of(world, posterior_of(precision, PRIORS, world.gaussians, structure=structure), NEW)

    blocks = [to_float64(unpack_symmetric(precision.geometry, 10)), to_float64(unpack_symmetric(precision.color, 4))]
    if structure == "diag":
        blocks = [block * np.eye(block.shape[-1]) for block in blocks]
    J = jacobian64(RenderInput(world, NEW, SETTINGS), BACKGROUND)
    covariances = dense_covariances(blocks, PRIORS, world.gaussians)
    covariance = dense_covariance_of_pixels(J, covariances, PRIORS.background, NOISE)
    np.testing.assert_allclose(maps["exact"].reshape(-1), exact_eig(covariance), rtol=1e-4, atol=1e-4)
    trace = 0.5 * np.trace(covariance, axis1=-2, axis2=-1)
    np.testing.assert_allclose(maps["trace"].reshape(-1), trace, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_map_equals_the_eig_of_single_rays(world):
    precision = add_view(None, RenderInput(world, FIRST, SETTINGS), BACKGROUND, NOISE, has_background=True)
    posterior = posterior_of(precision, PRIORS, world.gaussians)
    inputs = RenderInput(world, NEW, SETTINGS)
    rays = quick(lambda *args: ray_eig(*args, noise=NOISE))
    per_ray = rays(posterior, inputs, pixel_centers(NEW), BACKGROUND.reshape(-1, 3))
    np.testing.assert_allclose(per_ray, maps_of(world, posterior, NEW)["exact"].reshape(-1), rtol=1e-3, atol=1e-4)


def test_trace_bounds_the_exact_eig_and_a_view_never_increases_it(world):
    precision, last = eig.init_precision(world.gaussians), None
    for camera in (None, FIRST, SECOND):
        if camera is not None:
            precision = observe(precision, world, camera)
        posterior = posterior_of(precision, PRIORS, world.gaussians)
        exact, trace = maps_of(world, posterior, NEW).values()
        assert (exact >= 0).all() and (exact <= trace * (1 + 1e-5) + 1e-6).all()
        assert last is None or (exact <= last + 1e-4).all()
        last = exact


def test_eig_is_zero_without_prior_variance(world):
    posterior = prior_posterior(world, eig.Priors(*[1e-6] * 7))
    np.testing.assert_allclose(maps_of(world, posterior, FIRST)["exact"], 0.0, atol=1e-9)


def test_the_eig_of_a_node_is_part_of_the_whole(world):
    """The EIG of some Gaussians alone: traces add up, and each exact map is at most the whole."""
    posterior = prior_posterior(world)
    rows = jnp.arange(N) % 2 == 0
    parts = [maps_of(world, eig.restrict(posterior, mask), FIRST) for mask in (rows, ~rows)]
    flat = posterior.replace(background=jnp.zeros_like(posterior.background))
    whole = maps_of(world, flat, FIRST)
    np.testing.assert_allclose(parts[0]["trace"] + parts[1]["trace"], whole["trace"], rtol=1e-4, atol=1e-6)
    for part in parts:
        assert (np.asarray(part["exact"]) <= np.asarray(whole["exact"]) * (1 + 1e-4) + 1e-6).all()
    none = eig.restrict(posterior, jnp.zeros_like(rows))
    np.testing.assert_array_equal(maps_of(world, none, FIRST)["exact"], 0)


@pytest.mark.slow
def test_eig_of_an_empty_view_is_that_of_the_background(world):
    posterior = prior_posterior(world, eig.Priors(background=0.2))
    empty = world._replace(alive=jnp.zeros_like(world.alive))
    result = maps_of(empty, posterior, FIRST)["exact"]
    np.testing.assert_allclose(result, 1.5 * np.log1p((0.2 / NOISE) ** 2), rtol=1e-5)


def moved(gaussians, pose):
    """Apply a rigid motion of the world; colors must not depend on the direction."""
    return gaussians.replace(
        means=gaussians.means @ pose.rotation().as_matrix().T + pose.translation(),
        quats=jax.vmap(lambda q: (pose.rotation() @ jaxlie.SO3(q)).wxyz)(gaussians.quats),
    )


@pytest.mark.slow
def test_map_is_invariant_to_reordering_a_rigid_motion_and_a_change_of_units(world):
    rng = seeded_rng()
    gaussians = world.gaussians.replace(sh=world.gaussians.sh.at[:, 1:].set(0.0))

    def end_to_end(gaussians, alive, first, new):
        world = WorldGaussians(gaussians, alive)
        posterior = posterior_of(observe(None, world, first), PRIORS, gaussians)
        return maps_of(world, posterior, new)["exact"]

    expected = end_to_end(gaussians, world.alive, FIRST, NEW)
    order = rng.permutation(N)
    reordered = jax.tree.map(lambda x: x[order], gaussians)
    result = end_to_end(reordered, world.alive[order], FIRST, NEW)
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-4)

    pose = jaxlie.SE3.from_rotation_and_translation(
        jaxlie.SO3.from_rpy_radians(*rng.uniform(-1, 1, 3)), jnp.asarray(rng.normal(size=3), jnp.float32)
    )
    turned = [c.replace(camera_from_world=c.camera_from_world @ pose.inverse().as_matrix()) for c in (FIRST, NEW)]
    result = end_to_end(moved(gaussians, pose), world.alive, *turned)
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=2e-3)

    feet = 3.28
    scaled = gaussians.replace(means=gaussians.means * feet, log_scales=gaussians.log_scales + np.log(feet))
    far = [c.replace(camera_from_world=c.camera_from_world.at[:3, 3].multiply(feet)) for c in (FIRST, NEW)]
    result = end_to_end(scaled, world.alive, *far)
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=2e-3)


def test_weight_and_regions_follow_the_eig():
    nats = jnp.array([0.0, 1e-6, 0.5, 2.0, 50.0])
    weight = eig.eig_weight(nats, 0.5)
    np.testing.assert_allclose(weight, 1 - np.exp(-to_float64(nats) / 0.5), rtol=1e-5)
    under_constrained, well_determined = eig.split_regions(nats, 0.5)
    np.testing.assert_array_equal(under_constrained, [False, False, True, True, True])
    np.testing.assert_array_equal(well_determined, ~under_constrained)
