"""Lenses: both directions against each other, COLMAP, and polynomials of numpy; slopes against differences."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.render.camera import Camera, pixel_rays, project_points, resize
from ff_jax.render.lenses import fisheye_lens, ftheta_lens, opencv_lens
from tests.random_inputs import seeded_rng

W, H, FOCAL = 96, 64, 40.0
K = np.array([[FOCAL, 0.5, 47], [0, 41, 33], [0, 0, 1]])
NAMES = ("opencv", "fisheye", "ftheta", "ftheta_by_angle")


def camera_with(lens, K=K):
    return Camera(jnp.asarray(K, jnp.float32), jnp.eye(4), W, H, lens=lens)


def ftheta_polynomials(rng, max_angle):
    """Draw a polynomial from pixels to angle, and fit its inverse roughly."""
    to_angle = np.array([0, 1 / FOCAL, *rng.uniform(-1, 1, 3) * [1e-5, 1e-7, 1e-9]])
    r = np.linspace(0, 1.3 * FOCAL * max_angle, 400)
    angle = np.polynomial.polynomial.polyval(r, to_angle)
    to_pixels = np.polynomial.polynomial.polyfit(angle, r, [1, 2, 3])
    return to_angle, to_pixels


def random_camera(name, rng):
    """Draw a camera, and the largest angle that its lens is tested for."""
    if name == "opencv":
        radial = rng.uniform(-0.03, 0.03, 6)
        return camera_with(opencv_lens(radial, rng.uniform(-0.01, 0.01, 2), rng.uniform(-0.01, 0.01, 4))), 0.8
    if name == "fisheye":
        return camera_with(fisheye_lens(rng.uniform(-0.01, 0.01, 4), 1.8)), 1.75
    angle, pixels = ftheta_polynomials(rng, 1.8)
    linear = 1 + rng.uniform(-0.01, 0.01), *rng.uniform(-0.01, 0.01, 2)
    lens, focal = ftheta_lens(angle, pixels, 1.8, linear, has_angle_reference=name == "ftheta_by_angle")
    return camera_with(lens, np.array([[focal, 0, 47], [0, focal, 33], [0, 0, 1]])), 1.75


def directions_up_to(rng, angle, count=200):
    """Draw unit directions up to an angle from the optical axis; the first one is the axis."""
    theta, phi = rng.uniform(0, angle, count), rng.uniform(-np.pi, np.pi, count)
    theta[0] = 0
    return np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_rays_and_pixels_are_inverse_to_each_other(name):
    rng = seeded_rng()
    camera, angle = random_camera(name, rng)
    directions = directions_up_to(rng, angle)
    points = jnp.asarray(directions * rng.uniform(0.5, 50, (200, 1)), jnp.float32)
    pixels, is_visible = project_points(camera, points)
    rays, is_inside = pixel_rays(camera, pixels)
    assert np.all(is_visible) and np.all(is_inside)
    np.testing.assert_allclose(rays, directions, atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=-1), 1, atol=1e-6)
    again, _ = project_points(camera, rays)
    np.testing.assert_allclose(again, pixels, atol=2e-3)


@pytest.mark.parametrize("model", ["FULL_OPENCV", "OPENCV_FISHEYE", "RAD_TAN_THIN_PRISM_FISHEYE"])
def test_lenses_project_as_colmap_does(model):
    pycolmap = pytest.importorskip("pycolmap")
    rng = seeded_rng()
    size = [40.0, 41.0, 47.0, 33.0]
    matrix = np.array([[40, 0, 47], [0, 41, 33], [0, 0, 1]])
    k, p, s = rng.uniform(-0.02, 0.02, 6), rng.uniform(-0.01, 0.01, 2), rng.uniform(-0.01, 0.01, 4)
    if model == "FULL_OPENCV":
        values, lens = [*k[:2], *p, *k[2:]], opencv_lens(k, p)
    elif model == "OPENCV_FISHEYE":
        values, lens = [*k[:4]], fisheye_lens(k[:4])
    else:  # with no radial part, its tangential part and prism are those of OpenCV at the angles
        values, lens = [0.0] * 6 + [p[1], p[0], *s], opencv_lens((), p, s)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        camera = pycolmap.Camera(model=model, width=W, height=H, params=[*size, *values])
    tangents = np.append(rng.uniform(-0.8, 0.8, (50, 2)), [[0, 0]], 0)
    points = np.pad(tangents, ((0, 0), (0, 1)), constant_values=1)
    theirs = points.copy()
    if model.startswith("RAD_TAN"):  # it distorts angles: give it the points whose angles are these tangents
        radius = np.linalg.norm(tangents, axis=-1, keepdims=True)
        theirs[:, :2] *= np.tan(radius) / np.maximum(radius, 1e-9)
    actual, _ = project_points(camera_with(lens, matrix), jnp.asarray(points, jnp.float32))
    np.testing.assert_allclose(actual, camera.img_from_cam(theirs), atol=1e-4)


@pytest.mark.parametrize("has_angle_reference", [False, True])
def test_an_ftheta_lens_follows_its_reference_polynomial(has_angle_reference):
    rng = seeded_rng()
    to_angle, to_pixels = ftheta_polynomials(rng, 1.8)
    lens, focal = ftheta_lens(to_angle, to_pixels, 1.8, (1.01, 0.02, -0.01), has_angle_reference)
    camera = camera_with(lens, np.array([[focal, 0, 47], [0, focal, 33], [0, 0, 1]]))
    directions = directions_up_to(rng, 1.75)
    angle = np.arccos(np.clip(directions[:, 2], -1, 1))
    if has_angle_reference:  # the only real root between 0 and the rim
        grid = np.linspace(0, 2 * FOCAL * 1.8, 200_001)
        radius = np.interp(angle, np.polynomial.polynomial.polyval(grid, to_angle), grid)
    else:
        radius = np.polynomial.polynomial.polyval(angle, to_pixels)
    flat = radius[:, None] * directions[:, :2] / np.maximum(np.sin(angle), 1e-9)[:, None]
    expected = flat @ np.array([[1.01, 0.02], [-0.01, 1]]).T + [47, 33]
    actual, _ = project_points(camera, jnp.asarray(directions, jnp.float32))
    np.testing.assert_allclose(actual, expected, atol=2e-3)
    assert (directions[:, 2] < 0).any()  # behind the image plane, and visible


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_direction_has_finite_pixels_and_slopes(name):
    """On the axis, at right angles, behind, beyond the domain, and in the camera's center."""
    rng = seeded_rng()
    camera, _ = random_camera(name, rng)
    special = [[0, 0, 2], [0, 0, -2], [1, 0, 0], [0, 1, -1e-8], [0, 0, 0], [1e-20, 0, 1], [1e-3, 0, -5], [1e4, 0, -1]]
    points = jnp.asarray(np.concatenate([directions_up_to(rng, np.pi, 100), special]), jnp.float32)

    def total(camera, points):
        pixels, _ = project_points(camera, points)
        rays, _ = pixel_rays(camera, points[:, :2] * 200)
        return jnp.sum(jnp.sin(pixels / 50)) + jnp.sum(jnp.sin(rays)), (pixels, rays)

    (gradients, of_points), (pixels, rays) = jax.jit(jax.grad(total, (0, 1), has_aux=True))(camera, points)
    for array in jax.tree.leaves((gradients, of_points, pixels, rays)):
        assert np.isfinite(array).all()
    np.testing.assert_allclose(np.linalg.norm(rays, axis=-1), 1, atol=1e-5)
    _, is_visible = project_points(camera, jnp.array([[0, 0, 1.0], [0.1, 0, -1]]))
    assert is_visible.tolist() == [True, False]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_slopes_are_those_of_differences(name):
    """In double precision, both directions, by points and by every number of the camera."""
    rng = seeded_rng()
    camera, angle = random_camera(name, rng)
    directions = directions_up_to(rng, angle, 20)[1:]
    with jax.enable_x64(True):
        camera = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64), camera)
        target = np.asarray(project_points(camera, jnp.asarray(directions))[0])

        def both(camera, points, pixels):
            mapped, (rays, _) = project_points(camera, points)[0], pixel_rays(camera, pixels)
            return jnp.sum(jnp.sin(mapped / 30)) + jnp.sum(jnp.sin(3 * rays) * jnp.arange(3))

        arguments = camera, jnp.asarray(directions), jnp.asarray(target)
        step = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)) * 0.01, arguments)
        step = (step[0].replace(lens=jax.tree.map(lambda x: 0.1 * x, step[0].lens)), *step[1:])
        _, slope = jax.jvp(both, arguments, step)
        ends = [both(*jax.tree.map(lambda x, d, s=s: x + s * 1e-4 * d, arguments, step)) for s in (1, -1)]
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-4, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_another_image_size_shows_the_same_directions():
    for name in NAMES:
        rng = seeded_rng()
        camera, angle = random_camera(name, rng)
        points = jnp.asarray(directions_up_to(rng, angle, 20), jnp.float32)
        pixels, other = (project_points(c, points)[0] for c in (camera, resize(camera, 2 * W, 3 * H)))
        np.testing.assert_allclose(other, pixels * jnp.array([2.0, 3.0]), rtol=1e-5, atol=1e-3)


def test_directions_beyond_the_fold_of_a_polynomial_are_not_visible():
    """x - 0.5 x^3 turns back at x = (2/3)^0.5; beyond, the image keeps growing."""
    camera = camera_with(opencv_lens([-0.5]))
    tangents = jnp.array([0.0, 0.5, 0.8, 0.83, 1.0, 2.0])
    pixels, is_visible = project_points(camera, jnp.stack([tangents, 0 * tangents, 1 + 0 * tangents], -1))
    assert is_visible.tolist() == [True, True, True, False, False, False]  # whatever the image's size
    assert np.all(np.diff(pixels[:, 0]) > 0)


def test_impossible_lenses_are_refused():
    with pytest.raises(ValueError, match=r"invalid radial=.*expected at most 6"):
        opencv_lens([0.1] * 7)
    with pytest.raises(ValueError, match=r"invalid radial=.*finite"):
        fisheye_lens([np.nan])
    with pytest.raises(ValueError, match=r"invalid max_angle=4.0"):
        fisheye_lens([], 4.0)
    with pytest.raises(ValueError, match=r"invalid pixels_to_angle=.*constant of 0"):
        ftheta_lens([0.1, 0.01], [0, 100], 1.0)
    with pytest.raises(ValueError, match=r"increasing inverses of each other up to max_angle=1.0"):
        ftheta_lens([0, 0.01], [0, 80], 1.0)
    with pytest.raises(ValueError, match=r"invalid linear=.*c - d e"):
        ftheta_lens([0, 0.01], [0, 100], 1.0, (0.0, 0.0, 1.0))
