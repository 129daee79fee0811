"""Gaussians behind lenses: against pinholes, samples, differences, and pinhole images of the same scene."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.metrics.image import psnr
from ff_jax.render.camera import Camera, project_points
from ff_jax.render.gaussians import Gaussians, WorldGaussians
from ff_jax.render.lenses import fisheye_lens, ftheta_lens, opencv_lens
from ff_jax.render.renderer import (
    RenderInput,
    RenderSettings,
    lens_mask,
    pixel_centers,
    project_gaussians,
    ray_directions,
    render,
)
from tests.random_inputs import seeded_rng
from tests.scenes import quick, random_gaussians

pytestmark = pytest.mark.slow

W, H = 48, 32
SETTINGS = RenderSettings(capacity=1 << 15, tile=8, implementation="xla")
K = jnp.array([[20.0, 0, 23], [0, 21, 17], [0, 0, 1]])
LENSES = {
    "opencv": opencv_lens([-0.1, 0.01, 0.001, 0.02, 0.005, 0.001], [0.004, -0.003], [0.005, 0.001, -0.004, 0.002]),
    "fisheye": fisheye_lens([0.02, -0.01, 0.003, -0.001], 1.9),
    "ftheta": ftheta_lens([0, 0.05, 1e-5], [0, 20, -0.08], 1.9, (1.01, 0.01, -0.02))[0],
}


def camera_with(lens, pose=None, shutter=None):
    return Camera(K, jnp.eye(4) if pose is None else pose, W, H, shutter, lens)


def around(rng, count, distance=(2.0, 8.0), size=0.05):
    """Draw Gaussians in all directions, `size` of their distance large."""
    direction = rng.normal(size=(count, 3))
    means = direction / np.linalg.norm(direction, axis=-1, keepdims=True) * rng.uniform(*distance, (count, 1))
    scales = np.log(size * np.linalg.norm(means, axis=-1, keepdims=True) * rng.uniform(0.3, 1, (count, 3)))
    arrays = means, rng.normal(size=(count, 4)), scales, rng.uniform(0, 2, count), rng.normal(0, 0.5, (count, 1, 3))
    return Gaussians(*(jnp.asarray(x, jnp.float32) for x in arrays))


def splats_of(gaussians, camera):
    world = WorldGaussians(gaussians, jnp.ones(gaussians.capacity, bool))
    return project_gaussians(RenderInput(world, camera, SETTINGS))


def image_of(gaussians, camera):
    world = WorldGaussians(gaussians, jnp.ones(gaussians.capacity, bool))
    return render(RenderInput(world, camera, SETTINGS)).rgb


project, draw = quick(splats_of), quick(image_of)


def test_a_lens_without_distortion_is_a_pinhole():
    rng = seeded_rng()
    gaussians = random_gaussians(rng, 200, stds=(0.01, 0.04), box=((-6, -4, 3), (6, 4, 6)))
    plain, lens = (project(gaussians, camera_with(lens)) for lens in (None, opencv_lens()))
    np.testing.assert_array_equal(plain.opacity > 0, lens.opacity > 0)
    visible = np.asarray(plain.opacity > 0)
    assert 50 < visible.sum() < 200
    # The average of the sigma points leaves the image of the mean by the square of the size.
    for name, tolerance in {"mean2d": 0.02, "conic": 0.02, "extent": 0.05, "depth": 1e-5, "color": 1e-5}.items():
        actual, expected = (np.asarray(getattr(x, name))[visible] for x in (lens, plain))
        np.testing.assert_allclose(actual, expected, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("name", LENSES)
def test_footprints_have_the_moments_of_samples(name):
    rng = seeded_rng()
    camera, gaussians = camera_with(LENSES[name]), around(rng, 400)
    splats = project(gaussians, camera)
    inside = (jnp.abs(splats.mean2d - jnp.array([W, H]) / 2) < jnp.array([W, H]) / 2).all(-1)
    keep = np.flatnonzero(np.asarray((splats.opacity > 0) & inside))
    assert len(keep) > 30
    axes = np.asarray(jax.vmap(lambda q: _rotation(q))(gaussians.quats)) * np.exp(gaussians.log_scales)[:, None, :]
    noise = rng.normal(size=(2000, 3))
    noise = np.concatenate([noise, -noise])
    points = np.asarray(gaussians.means)[keep, None] + np.einsum("nij,sj->nsi", axes[keep], noise)
    pixels = np.asarray(project_points(camera, jnp.asarray(points, jnp.float32))[0], float)
    a, b, c = np.asarray(splats.conic, float)[keep].T
    actual = np.linalg.inv(np.stack([a, b, b, c], -1).reshape(-1, 2, 2)) - SETTINGS.eps2d * np.eye(2)
    centered = pixels - pixels.mean(1, keepdims=True)
    expected = np.einsum("nsi,nsj->nij", centered, centered) / len(noise)
    np.testing.assert_allclose(np.asarray(splats.mean2d)[keep], pixels.mean(1), atol=0.15)
    # 4000 samples give 3 % of a variance; 0.01 px^2 is the rounding of the dilation.
    error = np.abs(actual - expected) / (0.01 + np.trace(expected, axis1=1, axis2=2)[:, None, None])
    assert error.max() < 0.2 and np.median(error) < 0.03


def _rotation(quat):
    w, x, y, z = quat / jnp.linalg.norm(quat)
    return jnp.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def test_a_wide_lens_sees_what_is_behind_its_image_plane():
    directions = jnp.array([[0, 0, 1.0], [1, 0, -0.1], [0, 0, -1], [0, 0, 0.02]])
    means = directions * jnp.array([3.0, 2, 3, 1])[:, None]
    flat = jnp.zeros((4, 1, 3))
    gaussians = Gaussians(means, jnp.ones((4, 4)), jnp.full((4, 3), -4.0), jnp.ones(4), flat)
    splats = project(gaussians, camera_with(ftheta_lens([0, 0.1], [0, 10], 1.9)[0]).replace(K=K.at[0, 0].set(10)))
    assert (np.asarray(splats.opacity) > 0).tolist() == [True, True, False, False]  # ahead; behind; opposite; near
    np.testing.assert_allclose(splats.depth[:2], [3, 2 * 1.01**0.5], rtol=1e-5)  # the distance
    splats = project(gaussians, camera_with(opencv_lens()))
    assert (np.asarray(splats.opacity) > 0).tolist() == [True, False, False, False]


@pytest.mark.parametrize("name", LENSES)
def test_nothing_is_nan_and_what_is_culled_has_no_gradient(name):
    rng = seeded_rng()
    wild = around(rng, 60, (1e-3, 2.0), size=2.0)
    wild = wild.replace(
        means=wild.means.at[:5].set(jnp.array([[0, 0, 0.0], [0, 0, -1], [1e30, 0, 0], [jnp.nan, 0, 1], [0, 0, 5]])),
        log_scales=wild.log_scales.at[5:7].set(80.0),
        quats=wild.quats.at[7].set(0.0),
    )

    def loss(gaussians, camera):
        splats = splats_of(gaussians, camera)
        return sum(jnp.sum(jnp.sin(x)) for x in splats if x.dtype == jnp.float32), splats

    (of_gaussians, of_camera), splats = quick(jax.grad(loss, (0, 1), has_aux=True))(wild, camera_with(LENSES[name]))
    for array in jax.tree.leaves((of_camera, splats)):
        assert np.isfinite(array).all()
    for array in jax.tree.leaves(of_gaussians):
        assert np.isfinite(array).all()
    culled = np.asarray(splats.opacity == 0)
    assert culled[[0, 2, 3, 6, 7]].all() and not culled.all()


@pytest.mark.parametrize("name", LENSES)
def test_gradients_are_those_of_differences(name):
    """In double precision, by the Gaussians, the pose, K and the numbers of the lens."""
    rng = seeded_rng()
    point = around(rng, 40, (3.0, 6.0), size=0.1), camera_with(LENSES[name])
    with jax.enable_x64(True):
        point = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64), point)
        is_visible = splats_of(*point).opacity > 0

        def total(point):
            splats = splats_of(*point)
            columns = [jnp.sin(x).reshape(40, -1).sum(-1) for x in (splats.mean2d / 9, splats.conic, splats.depth)]
            return jnp.sum(jnp.where(is_visible, sum(columns), 0.0))

        value, slope = jax.jit(total), jax.jit(jax.jvp, static_argnums=0)
        step = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * 1e-3 * (x.ndim > 0)), point)
        motion = step[1].camera_from_world.at[3].set(0.0)
        step = step[0], step[1].replace(camera_from_world=motion, K=step[1].K.at[2].set(0.0))
        ends = [value(jax.tree.map(lambda x, d, sign=sign: x + sign * 1e-4 * d, point, step)) for sign in (1, -1)]
        np.testing.assert_allclose(slope(total, (point,), (step,))[1], (ends[0] - ends[1]) / 2e-4, rtol=1e-3)


@pytest.mark.parametrize("name", [pytest.param("opencv", marks=pytest.mark.slow), "fisheye"])
def test_an_image_is_the_remapped_image_of_a_wide_pinhole(name):
    """Where a pinhole sees the same directions; dense small Gaussians on a sphere, sampled at twice the resolution."""
    rng = seeded_rng()
    gaussians = around(rng, 2000, (4.5, 4.6), size=0.08)
    means = gaussians.means.at[:, 2].set(jnp.abs(gaussians.means[:, 2]))
    gaussians = gaussians.replace(means=means, sh=jnp.sin(0.7 * means)[:, None])  # smooth, whatever the order
    camera = camera_with(LENSES[name])
    big = Camera(jnp.array([[40.0, 0, 80], [0, 40, 60], [0, 0, 1]]), jnp.eye(4), 160, 120)
    image, wide = (draw(gaussians, c) for c in (camera, big))
    rays = np.asarray(ray_directions(camera), float)
    pixels = rays[..., :2] / rays[..., 2:] * 40 + [79.5, 59.5]
    inside = (np.abs(pixels - [79.5, 59.5]) < [75, 55]).all(-1) & (rays[..., 2] > 0.5)
    corner = np.floor(pixels).astype(int).clip(0, [158, 118])
    fx, fy = np.moveaxis(pixels - corner, -1, 0)[..., None]
    column, row, wide = *np.moveaxis(corner, -1, 0), np.asarray(wide)
    top, bottom = (wide[row + k, column] * (1 - fx) + wide[row + k, column + 1] * fx for k in (0, 1))
    remapped = top * (1 - fy) + bottom * fy
    assert inside.mean() > 0.4
    assert float(psnr(jnp.asarray(remapped[inside][None]), image[inside][None])) > 24


def test_the_mask_of_a_lens_ends_at_its_largest_angle():
    camera = camera_with(fisheye_lens([], 0.7))
    radius = np.linalg.norm((np.asarray(pixel_centers(camera)) - [23, 17]) / [20, 21], axis=-1)
    np.testing.assert_array_equal(lens_mask(camera), radius <= 0.7)
