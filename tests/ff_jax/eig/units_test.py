"""EIG in nats does not depend on the unit of length: a scene of 0.01 and of 100 times the size has the same maps."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax import eig
from ff_jax.render.gaussians import WorldGaussians
from ff_jax.render.renderer import RenderInput
from tests.ff_jax.eig.problems import SETTINGS, add_view, distinct_world, eig_maps, posterior_of
from tests.random_inputs import seeded_rng
from tests.scenes import pinhole

pytestmark = pytest.mark.slow

NOISE = 0.05
NEAR = dataclasses.replace(SETTINGS, near=1e-3)  # nearer than every Gaussian in every unit: the same program
TOLERANCE = 1e-2  # relative, of the EIG of a pixel; rounding of positions and scales moves it by less


def scaled_camera(camera, factor):
    """Move a camera away from the origin by a factor."""
    pose = camera.camera_from_world.at[:3, 3].multiply(factor)
    return camera.replace(camera_from_world=pose)


def scaled_world(world: WorldGaussians, factor: float) -> WorldGaussians:
    """Make Gaussians `factor` times as large and as far from the origin."""
    gaussians = world.gaussians
    changed = gaussians.replace(means=factor * gaussians.means, log_scales=gaussians.log_scales + np.log(factor))
    return world._replace(gaussians=changed)


def maps_at(world, cameras, factor):
    """Compute the EIG map of the last camera, after all others recorded the scene, in another unit of length."""
    world = scaled_world(world, factor)
    inputs = [RenderInput(world, scaled_camera(camera, factor), NEAR, 1) for camera in cameras]
    background = jnp.full((inputs[0].camera.height, inputs[0].camera.width, 3), 0.5)
    precision = None
    for view in inputs[:-1]:
        precision = add_view(precision, view, background, NOISE, has_background=True)
    posterior = posterior_of(precision, eig.Priors(), world.gaussians)
    return eig_maps(posterior, inputs[-1], background, NOISE)


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_maps_in_nats_do_not_depend_on_the_unit_of_length(factor):
    rng = seeded_rng()
    cameras = [pinhole(24, 16, 20.0, x=x, yaw=yaw) for x, yaw in ((0.0, 0.0), (0.15, 0.02), (0.9, -0.1))]
    world = distinct_world(rng, 12, cameras)
    expected, found = maps_at(world, cameras, 1.0), maps_at(world, cameras, factor)
    for mode in ("exact", "trace"):
        np.testing.assert_allclose(found[mode], expected[mode], rtol=TOLERANCE, atol=1e-3, err_msg=mode)
    assert np.ptp(np.asarray(expected["exact"])) > 0.5  # nats
    masks = [np.asarray(eig.eig_mask(maps["exact"], eig.TAU)) for maps in (expected, found)]
    assert 0 < masks[0].mean() < 1 and np.mean(masks[0] != masks[1]) < 0.01  # one threshold
