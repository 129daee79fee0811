"""Precision and EIG maps behind lenses against Jacobians of single rays."""

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax import eig
from ff_jax.eig.information import lens_footprint_jacobian, view_geometry
from ff_jax.eig.released_formula import released_map
from ff_jax.render.camera import Shutter
from ff_jax.render.lenses import fisheye_lens, opencv_lens
from ff_jax.render.renderer import RenderInput
from kernels import ViewGeometry, unpack_symmetric
from tests.ff_jax.eig.problems import (
    SETTINGS,
    add_view,
    dense_covariance_of_pixels,
    dense_covariances,
    dense_information,
    distinct_world,
    eig_maps,
    exact_eig,
    in_units_of,
    jacobian64,
    posterior_of,
    to_float64,
)
from tests.random_inputs import seeded_rng
from tests.scenes import pinhole, quick

pytestmark = pytest.mark.slow

W, H, N, NOISE = 15, 12, 7, 0.05
BACKGROUND = jnp.broadcast_to(jnp.array([0.2, 0.5, 0.9]), (H, W, 3))
PRIORS = eig.Priors()
MOVING = Shutter(jnp.array([0.002, -0.01, 0.001, 0.02, 0.01, -0.05]), "right_to_left")
LENSES = {"fisheye": fisheye_lens([0.05, -0.01], 1.5), "opencv": opencv_lens([-0.1, 0.02], [0.004, -0.003])}


@pytest.mark.parametrize("name", LENSES)
def test_precision_and_map_equal_brute_force(name):
    views = pinhole(W, H, 14.0), pinhole(W, H, 14.0, 0.5, 0.2, 0.05)
    first, new = (camera.replace(lens=LENSES[name], shutter=MOVING) for camera in views)
    world = distinct_world(seeded_rng(), N, (first, new))
    seen, novel = (RenderInput(world, camera, SETTINGS) for camera in (first, new))
    precision = add_view(None, seen, BACKGROUND, NOISE)
    expected = dense_information(jacobian64(seen, BACKGROUND), NOISE)
    # The directions of the colors are those of the middle pose, for every camera with a rolling shutter.
    for actual, blocks, tolerance in zip((precision.geometry, precision.color), expected, (2e-4, 0.05), strict=True):
        actual = in_units_of(blocks, unpack_symmetric(actual, blocks.shape[-1]))
        np.testing.assert_allclose(actual, in_units_of(blocks, blocks), atol=tolerance)
    assert not precision.geometry[-1].any() and precision.geometry[:-1].any()

    posterior = posterior_of(precision, PRIORS, world.gaussians)
    maps = eig_maps(posterior, novel, BACKGROUND, NOISE, modes=("exact",))
    blocks = [to_float64(unpack_symmetric(precision.geometry, 10)), to_float64(unpack_symmetric(precision.color, 4))]
    covariances = dense_covariances(blocks, PRIORS, world.gaussians)
    covariance = dense_covariance_of_pixels(jacobian64(novel, BACKGROUND), covariances, PRIORS.background, NOISE)
    np.testing.assert_allclose(maps["exact"].reshape(-1), exact_eig(covariance), rtol=0.02, atol=1e-3)


def test_derivatives_of_a_lens_without_distortion_are_those_of_a_pinhole():
    camera = pinhole(W, H, 14.0)
    world = distinct_world(seeded_rng(), N, (camera,))
    small = world._replace(gaussians=world.gaussians.replace(log_scales=world.gaussians.log_scales - 3.5))
    plain = RenderInput(small, camera, SETTINGS)
    assert isinstance(view_geometry(plain), ViewGeometry)
    lens = quick(lens_footprint_jacobian)(plain.replace(camera=camera.replace(lens=opencv_lens())))
    own = quick(lens_footprint_jacobian)(plain)
    scale = np.abs(own).max((0, 2), keepdims=True)
    np.testing.assert_allclose(lens / scale, own / scale, atol=5e-3)


def test_the_map_of_the_released_code_refuses_lenses():
    camera = pinhole(W, H, 14.0).replace(lens=opencv_lens([0.1]))
    world = distinct_world(np.random.default_rng(0), N, (pinhole(W, H, 14.0),))
    with pytest.raises(ValueError, match="the EIG map of the released code supports pinhole cameras only"):
        released_map(jnp.ones(N), RenderInput(world, camera, SETTINGS))
