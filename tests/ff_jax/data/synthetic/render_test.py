"""Rendered streets against closed forms and against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.synthetic import Capacities, StreetConfig, make_street, render_street, rig_camera
from ff_jax.data.synthetic.primitive_builders import box, pack
from ff_jax.data.synthetic.types import METAL
from ff_jax.render.camera import make_camera
from tests.ff_jax.data.synthetic.conftest import HEIGHT, SEED, WIDTH

pytestmark = pytest.mark.slow

PLAIN_EXPOSURE = jnp.array([1.0, 0.0])


def _camera(position, right=0.0, focal=60.0):
    """Look along world x from `position`, moved `right` meters to the right."""
    K = np.array([[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1]])
    pose = np.eye(4)
    pose[:3, :3] = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    pose[:3, 3] = np.asarray(position) - np.array([0, right, 0])
    return make_camera(K, pose, WIDTH, HEIGHT)


def _with_parts(street, parts):
    return street.replace(primitives=pack(parts, Capacities().counts()))


def _pixel_rays(camera):
    u, v = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    K = np.asarray(camera.K)
    return np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], -1)


def test_depth_of_a_box_and_of_the_road_is_exact(street, render):
    street = _with_parts(street, [box((12.0, 1.0, 1.5), (4.0, 2.0, 3.0), METAL, (0.5, 0.4, 0.3))])
    camera = _camera((0.0, 0.0, 1.5))
    depth = np.asarray(render(street, camera, 0.0, PLAIN_EXPOSURE).depth)
    rays = _pixel_rays(camera)
    left, up = -10.0 * rays[..., 0], 1.5 - 10.0 * rays[..., 1]  # world y, z on the plane of the front face
    face = (left > 0.05) & (left < 1.95) & (up > 0.05) & (up < 2.95)
    assert face.sum() > 50
    np.testing.assert_allclose(depth[face], 10.0, atol=1e-4)
    expected = 1.5 / np.maximum(rays[..., 1], 1e-6)  # the road is z = 0
    road = (rays[..., 1] > 0) & (expected < 9.9) & (np.abs(expected * rays[..., 0]) < 3.4)
    assert road.sum() > 200
    np.testing.assert_allclose(depth[road], expected[road], rtol=1e-4)


def test_a_face_seen_from_the_side_keeps_color_and_depth(street, render):
    street = _with_parts(street, [box((12.0, 0.0, 3.0), (4.0, 6.0, 6.0), METAL, (0.5, 0.4, 0.3))])
    pixels, depth = 6, 10.0
    first = render(street, _camera((0.0, 0.0, 1.5)), 0.0, PLAIN_EXPOSURE)
    # A fronto-parallel face at depth z moves by f * shift / z pixels: here by whole pixels.
    second = render(street, _camera((0.0, 0.0, 1.5), right=pixels * depth / 60.0), 0.0, PLAIN_EXPOSURE)
    columns = slice(WIDTH // 2 - 10, WIDTH // 2 + 14)
    rows = slice(HEIGHT // 2 - 18, HEIGHT // 2 + 6)
    shifted = slice(columns.start - pixels, columns.stop - pixels)
    np.testing.assert_allclose(first.depth[rows, columns], depth, atol=1e-4)
    np.testing.assert_allclose(second.depth[rows, shifted], depth, atol=1e-4)
    np.testing.assert_allclose(first.rgb[rows, columns], second.rgb[rows, shifted], atol=0.02)
    assert np.std(np.asarray(first.rgb[rows, columns])) > 1e-3  # a textured face, or the test is void


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_points_reproject_to_the_same_depth_and_color(street, render, shift):
    camera = rig_camera(street, 0, "front", WIDTH, HEIGHT)
    pose = np.array(camera.world_from_camera)
    pose[:3, 3] += shift * np.asarray(street.world_from_ego[0])[:3, 1]
    other = make_camera(camera.K, pose, WIDTH, HEIGHT)
    first, second = (render(street, c, 0.0, PLAIN_EXPOSURE) for c in (camera, other))
    depth = np.asarray(first.depth)
    points = _pixel_rays(camera) * depth[..., None]
    street = points @ np.array(camera.world_from_camera)[:3, :3].T + np.array(camera.world_from_camera)[:3, 3]
    in_camera = street @ np.array(other.camera_from_world)[:3, :3].T + np.array(other.camera_from_world)[:3, 3]
    K = np.asarray(other.K)
    u, v = (
        np.floor(K[k, k] * in_camera[..., k] / np.maximum(in_camera[..., 2], 1e-6) + K[k, 2]).astype(int)
        for k in range(2)
    )
    inside = (depth > 0) & (depth < 30) & (in_camera[..., 2] > 0.5)
    inside &= (u >= 0) & (u < WIDTH) & (v >= 0) & (v < HEIGHT)
    z = np.asarray(second.depth)[v[inside], u[inside]]
    gap = (z - in_camera[..., 2][inside]) / in_camera[..., 2][inside]
    same = np.abs(gap) < 0.05
    assert same.mean() > 0.75
    # A surface hides what is behind it: only at silhouettes may the other view look past the point.
    assert np.mean((z > 0) & (gap > 0.05)) < 0.06
    change = np.abs(np.asarray(first.rgb)[inside] - np.asarray(second.rgb)[v[inside], u[inside]])[same]
    assert np.median(change) < 0.04


def test_sky_has_no_depth_and_no_instance(street, render):
    view = render(street, rig_camera(street, 0, "front", WIDTH, HEIGHT), 0.0, PLAIN_EXPOSURE)
    sky = np.asarray(view.sky)
    assert 0.05 < sky.mean() < 0.6
    assert sky[: HEIGHT // 4].mean() > sky[HEIGHT // 2 :].mean()
    assert (np.asarray(view.depth)[sky] == 0).all() and (np.asarray(view.depth)[~sky] > 0).all()
    assert (np.asarray(view.instance)[sky] == 0).all()
    assert (np.asarray(view.instance) > 0).any()
    assert 0.0 <= float(view.rgb.min()) and float(view.rgb.max()) <= 1.0


def test_everything_that_a_camera_returns_is_finite(street, render):
    last = street.times.shape[0] - 1
    for frame in (0, last // 2, last):
        camera, time = rig_camera(street, frame, "front", WIDTH, HEIGHT), float(street.times[frame])
        view = render(street, camera, time, PLAIN_EXPOSURE)
        for leaf in jax.tree.leaves(view):
            assert np.isfinite(np.asarray(leaf)).all()
        assert np.std(np.asarray(view.rgb)) > 0.05


def test_exposure_changes_the_brightness(street, render):
    camera = rig_camera(street, 3, "front", WIDTH, HEIGHT)
    plain, dark, lifted = (
        np.asarray(render(street, camera, 0.3, jnp.array(e)).rgb) for e in ((1.0, 0.0), (0.5, 0.0), (1.0, 0.1))
    )
    np.testing.assert_allclose(dark, 0.5 * plain, atol=1e-5)
    np.testing.assert_allclose(lifted, np.minimum(plain + 0.1, 1.0), atol=1e-5)
    assert np.ptp(np.asarray(street.exposures)[:, 0]) > 0.05  # exposure_drift=True
    assert (np.asarray(make_street(SEED).exposures) == [1.0, 0.0]).all()


def test_another_seed_is_another_street_without_another_compilation(street, render):
    camera = rig_camera(street, 0, "front", WIDTH, HEIGHT)
    first = render(street, camera, 0.0, PLAIN_EXPOSURE)
    compiled = render._cache_size()
    again = render(make_street(SEED, StreetConfig(exposure_drift=True)), camera, 0.0, PLAIN_EXPOSURE)
    np.testing.assert_array_equal(first.rgb, again.rgb)
    second = render(make_street(SEED + 1, StreetConfig(moving=False)), camera, 0.5, PLAIN_EXPOSURE)
    assert render._cache_size() == compiled
    assert np.mean(np.abs(np.asarray(first.rgb - second.rgb))) > 0.03


def test_samples_below_one_are_refused(street):
    with pytest.raises(ValueError, match="samples=0"):
        render_street(street, rig_camera(street, 0, "front", WIDTH, HEIGHT), 0.0, samples=0)
