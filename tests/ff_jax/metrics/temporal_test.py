"""Warping error: exact on simple scenes, small on the built-in street, rising with what flickers."""

import jax
import numpy as np
import pytest
from scipy import ndimage

from ff_jax.data.synthetic import StreetConfig, make_street, render_street
from ff_jax.data.synthetic.camera_rig import rig_camera
from ff_jax.metrics.temporal import Pinhole, WarpError, excess_change, mean_warp_error, reproject, sample, warp_error
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

WIDTH, HEIGHT = 160, 96
K = np.array([[40.0, 0, 24], [0, 40, 16], [0, 0, 1]])


@pytest.fixture
def rng():
    return seeded_rng()


@pytest.fixture(scope="module")
def clip():
    """Return three frames of a street where nothing moves: colors, depths and cameras."""
    world = make_street(2, StreetConfig(num_frames=3, moving=False, speed=4.0))
    render = jax.jit(lambda camera, time: render_street(world, camera, time, samples=2))
    cameras = [rig_camera(world, i, "front", WIDTH, HEIGHT) for i in range(3)]
    views = [render(camera, world.times[i]) for i, camera in enumerate(cameras)]
    poses = [Pinhole(np.asarray(c.K, float), np.asarray(c.world_from_camera, float)) for c in cameras]
    return [np.asarray(v.rgb, float) for v in views], [np.asarray(v.depth, float) for v in views], poses


def video_error(frames, clip):
    _, depths, cameras = clip
    pairs = zip(frames, frames[1:], depths, depths[1:], cameras, cameras[1:], strict=False)
    return mean_warp_error(warp_error(*pair) for pair in pairs)


def pinhole(x=0.0, z=0.0):
    pose = np.eye(4)
    pose[[0, 2], 3] = x, z
    return Pinhole(K, pose)


def test_the_same_frame_without_motion_has_no_error_and_uses_every_pixel(rng):
    frame, depth = rng.random((32, 48, 3)), rng.uniform(2, 9, (32, 48))
    np.testing.assert_allclose(warp_error(frame, frame, depth, depth, pinhole(), pinhole()), (0, 0, 1), atol=1e-12)
    change = 0.2 * rng.normal(size=frame.shape)
    found = warp_error(frame, frame + change, depth, depth, pinhole(), pinhole())
    np.testing.assert_allclose(found, (np.abs(change).mean(), np.sqrt((change**2).mean()), 1))


def test_a_plane_that_slides_by_whole_pixels_is_matched_exactly(rng):
    texture = rng.random((32, 60, 3))
    depth = np.full((32, 48), 8.0)
    # 1 m to the right at 8 m: the picture moves 5 pixels to the left, and 5 columns leave it.
    found = warp_error(texture[:, :48], texture[:, 5:53], depth, depth, pinhole(), pinhole(x=1.0))
    np.testing.assert_allclose(found, (0, 0, 43 / 48), atol=1e-9)


def test_reprojection_equals_four_by_four_matrices(rng):
    a, b = pinhole(0.4, 1.0), pinhole(-0.3, 0.2)
    pixels, depth = rng.uniform(0, 40, (20, 2)), rng.uniform(3, 9, 20)
    found, z = reproject(pixels, depth, a, b)
    for pixel, d, at, near in zip(pixels, depth, found, z, strict=True):
        ray = np.linalg.inv(K) @ [*pixel, 1] * d
        point = np.linalg.inv(b.world_from_camera) @ a.world_from_camera @ [*ray, 1]
        np.testing.assert_allclose([*at, near], [*((K @ point[:3])[:2] / point[2]), point[2]])


def test_samples_interpolate_between_pixel_centres(rng):
    image = rng.random((6, 7, 2))
    np.testing.assert_allclose(sample(image, np.array([[2.5, 3.5], [3.0, 3.5]])), [image[3, 2], image[3, 2:4].mean(0)])


def test_hidden_masked_and_empty_pixels_do_not_count(rng):
    depth_t = np.full((32, 48), 8.0)
    frame = np.full((32, 48, 3), 0.5)
    frame_n, depth_n = frame.copy(), depth_t.copy()
    frame_n[10:20, 10:20], depth_n[10:20, 10:20] = 1.0, 4.0  # something steps in front
    found = warp_error(frame, frame_n, depth_t, depth_n, pinhole(), pinhole())
    np.testing.assert_allclose(found, (0, 0, 1 - 100 / (32 * 48)))
    frame_n[:8] = 0.0
    mask = np.ones((32, 48), bool)
    mask[:8] = False
    found = warp_error(frame, frame_n, depth_t, depth_n, pinhole(), pinhole(), mask)
    np.testing.assert_allclose(found, (0, 0, (24 * 48 - 100) / (32 * 48)))
    depth_t[:] = rng.choice([0, np.nan, np.inf], depth_t.shape)
    empty = warp_error(frame, frame_n, depth_t, depth_n, pinhole(), pinhole())
    assert np.isnan(empty[:2]).all() and empty.share == 0


def test_a_static_street_is_consistent(clip):
    found = video_error(clip[0], clip)
    assert found.mae < 0.03 and 0.3 < found.share < 1


@pytest.mark.parametrize("kind", ["noise", "flicker"])
def test_error_rises_with_what_changes_from_frame_to_frame(clip, rng, kind):
    size = (1, 1, 3) if kind == "flicker" else (HEIGHT, WIDTH, 3)
    # Alternating signs make a flicker of known size; noise is independent in every frame.
    change = [rng.normal(size=size) if kind == "noise" else np.full(size, (-1.0) ** i) for i in range(3)]
    errors = [
        video_error([frame + strength * step for frame, step in zip(clip[0], change, strict=True)], clip).mae
        for strength in (0, 0.02, 0.05, 0.1, 0.2)
    ]
    assert (np.diff(errors) > 0).all() and errors[-1] > 0.15 + errors[0]


def test_a_constant_change_of_the_whole_clip_is_not_an_inconsistency(clip):
    real = video_error(clip[0], clip)
    tinted = video_error([0.8 * frame + np.array([0.1, 0, -0.05]) for frame in clip[0]], clip)
    np.testing.assert_allclose(tinted.mae, 0.8 * real.mae, rtol=1e-6)
    blurred = video_error([ndimage.gaussian_filter(frame, (2, 2, 0)) for frame in clip[0]], clip)
    assert blurred.share == real.share and blurred.mae < real.mae  # blur looks consistent: read it beside sharpness
    assert excess_change(blurred, real) < 0 == excess_change(real, real)


def test_means_leave_out_pairs_without_common_pixels():
    pairs = [WarpError(0.1, 0.3, 0.5), WarpError(0.3, 0.4, 1.0), WarpError(np.nan, np.nan, 0.0)]
    np.testing.assert_allclose(mean_warp_error(pairs), (0.2, np.sqrt(0.125), 0.5))
    with pytest.raises(ValueError, match="at least one pair"):
        mean_warp_error([])


def test_sizes_must_agree(rng):
    frame, depth = rng.random((32, 48, 3)), np.ones((32, 48))
    with pytest.raises(ValueError, match="one size"):
        warp_error(frame, frame[:30], depth, depth, pinhole(), pinhole())
