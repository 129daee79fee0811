"""Hidden LiDAR points: gaps between beams against the pattern's, windows against loops, leaks against true depth."""

import itertools
from itertools import pairwise

import jax
import numpy as np
import pytest

from ff_jax.data.points.occlusion import NEARER, _corner_minima, beam_gaps, nearest_in_pixels, occluded
from ff_jax.data.scene_data import invert_rigid, transform
from ff_jax.data.synthetic import LidarPattern, StreetConfig, make_street, render_street, simulate_lidar
from ff_jax.data.synthetic.camera_rig import rig_camera
from tests.random_inputs import seeded_rng

WIDTH, HEIGHT = 240, 160


def rays(pattern, rng):
    """Return unit directions of a scan, without some that were lost."""
    up, around = np.meshgrid(pattern.elevations(), np.deg2rad(np.arange(0, 120, 0.2)))
    up, around = up.ravel(), around.ravel()
    keep = rng.random(up.size) < 0.9
    up, around = up[keep], around[keep]
    return np.stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], -1)


@pytest.mark.parametrize("beams", [32, 64])
def test_gaps_between_uneven_beams_are_found_from_the_points_alone(beams):
    rng, pattern = seeded_rng(), LidarPattern(beams=beams)
    points = rays(pattern, rng) * rng.uniform(2, 80, (1, 1))
    gaps, up = beam_gaps(points), np.arcsin(points[:, 2] / np.linalg.norm(points, axis=1))
    elevations = pattern.elevations()
    for low, above in pairwise(elevations[3:-3]):
        middle = np.abs(up - 0.5 * (low + above)) < 0.6 * (above - low)
        assert 0.5 * (above - low) < np.median(gaps[middle]) < 2 * (above - low)


def test_few_points_get_the_widest_window():
    assert (beam_gaps(np.ones((5, 3))) == 0.05).all()


def test_a_corner_is_a_window_that_ends_at_the_pixel():
    depth = seeded_rng().random((9, 11))
    corners = list(itertools.product((False, True), repeat=2))  # down, right
    for size, (number, (down, right)) in itertools.product((1, 2, 3, 12), enumerate(corners)):
        actual = _corner_minima(depth, size)[number]
        for y, x in np.ndindex(depth.shape):
            rows = slice(y, y + size + 1) if down else slice(max(y - size, 0), y + 1)
            columns = slice(x, x + size + 1) if right else slice(max(x - size, 0), x + 1)
            assert actual[y, x] == depth[rows, columns].min()


def test_what_nearer_points_surround_goes_and_what_lies_beside_them_stays():
    sparse, radius = np.zeros((12, 20), np.float32), np.full((12, 20), 2)
    sparse[2:10:2, 0:10:2] = 5  # a fence
    sparse[3:9:2, 1:9:2] = 30  # behind its gaps
    sparse[2:10, 10:] = 30  # beside it
    sparse[5, 3] = 5 / (1 - 0.5 * NEARER)  # hardly farther: on the fence
    actual = occluded(sparse, radius)
    assert actual[3:9:2, 1:9:2].sum() == 11 and actual.sum() == 11


def test_the_nearest_point_of_a_pixel_stays_with_its_own_window():
    pixels = np.array([[3.2, 1.1], [3.9, 1.9], [0.5, 0.5]])
    depth, gaps = np.array([9.0, 4.0, 7.0]), np.array([0.01, 0.02, 0.0])
    for order in ([0, 1, 2], [2, 1, 0]):
        sparse, radius = nearest_in_pixels(pixels[order], depth[order], gaps[order], (3, 5), 100.0)
        assert sparse[1, 3] == 4 and sparse[0, 0] == 7 and (sparse > 0).sum() == 2
        assert radius[1, 3] == 3 and radius[0, 0] == 1


@pytest.mark.slow
def test_leaks_on_the_street_disappear_and_other_points_stay():
    world = make_street(1, StreetConfig(num_frames=3))
    camera, pattern = rig_camera(world, 0, "front", WIDTH, HEIGHT), LidarPattern(azimuths=720, sector=90.0)
    truth = np.asarray(jax.jit(lambda camera: render_street(world, camera, 0.0, samples=1).depth)(camera))
    key = jax.random.key(seeded_rng().integers(1 << 30))
    sweep = jax.jit(simulate_lidar, static_argnames="pattern")(key, world, 0, pattern=pattern)
    points = np.asarray(sweep.points, float)[np.asarray(sweep.valid)]
    K, pose = np.asarray(camera.K, float), np.asarray(sweep.world_from_lidar, float)
    inside = transform(invert_rigid(np.asarray(camera.world_from_camera, float)) @ pose, points)
    pixels = inside[:, :2] / np.maximum(inside[:, 2:], 0.1) @ K[:2, :2].T + K[:2, 2]
    visible = (inside[:, 2] > 0.5) & (pixels >= 0).all(1) & (pixels < [WIDTH, HEIGHT]).all(1)
    shape, gaps = (HEIGHT, WIDTH), beam_gaps(points)
    sparse, radius = nearest_in_pixels(pixels[visible], inside[visible, 2], gaps[visible], shape, K[1, 1])
    exact = (sparse > 0) & (truth > 0)
    leak = exact & (sparse > truth + np.maximum(0.05 * truth, 0.3))
    good = exact & (np.abs(sparse - truth) <= np.maximum(0.05 * truth, 0.3))
    gone = occluded(sparse, radius)
    assert exact.sum() > 500
    assert (leak & ~gone).sum() < 0.5 * leak.sum() and (good & gone).sum() < 0.2 * good.sum()
