"""Lane pictures: exact drawing and clipping against naive forms, and what the published protocol drops."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ff_jax.data.scene_data import OPENCV_FROM_EGO, Lane
from ff_jax.metrics import lane_raster
from ff_jax.metrics.lane_raster import (
    PUBLISHED,
    STRICT,
    clip_segments,
    draw_segments,
    published_segments,
    rasterize_lanes,
)
from tests.random_inputs import seeded_rng

HEIGHT = 1.5  # meters of the camera above the road
CAMERA = np.eye(4)
CAMERA[:3, :3] = np.linalg.inv(OPENCV_FROM_EGO)[:3, :3]
CAMERA[2, 3] = HEIGHT
K = np.array([[500.0, 0, 320], [0, 500, 180], [0, 0, 1]])


@pytest.fixture
def rng():
    return seeded_rng()


def line(y, start, stop, count, z=0.0):
    x = np.linspace(start, stop, count)
    return Lane("lane_line", np.stack([x, np.full_like(x, y), np.full_like(x, z)], -1))


def test_drawing_equals_the_distance_of_every_pixel(rng):
    segments = rng.uniform(-10, 60, (5, 2, 2))
    segments[0, 1] = segments[0, 0]  # a single point is a disc
    picture = draw_segments(segments, 7.3, 50, 40)
    for y, x in np.ndindex(40, 50):
        pixel = np.array([x + 0.5, y + 0.5])
        distances = []
        for a, b in segments:
            share = np.clip((pixel - a) @ (b - a) / max((b - a) @ (b - a), 1e-9), 0, 1)
            distances.append(np.linalg.norm(pixel - a - share * (b - a)))
        assert picture[y, x] == (min(distances) <= 3.65), (x, y)


def test_clipping_keeps_exactly_the_points_within_all_limits(rng):
    protocol = replace(STRICT, max_distance=30.0, max_height=4.0, near=0.5)
    line = rng.uniform([-40, -8, -40], [40, 8, 40], (100, 3))
    some = 0
    for start, end in itertools.pairwise(line):
        points = start + np.linspace(0, 1, 4001)[:, None] * (end - start)
        inside = (np.linalg.norm(points, axis=1) < 30) & (np.abs(points[:, 1]) < 4) & (points[:, 2] > 0.5)
        part = clip_segments(np.stack([start, end]), protocol)
        length = np.linalg.norm(part[:, 1] - part[:, 0], axis=-1).sum()
        np.testing.assert_allclose(length, inside.mean() * np.linalg.norm(end - start), atol=0.1)
        if inside.sum() > 2:
            some += 1
            np.testing.assert_allclose(part[0], points[np.flatnonzero(inside)[[0, -1]]], atol=0.1)
    assert some > 5
    whole, parts = clip_segments(line, protocol), [clip_segments(line[i : i + 2], protocol) for i in range(99)]
    np.testing.assert_allclose(whole, np.concatenate(parts))


def test_clipping_survives_segments_along_the_limits():
    level = np.array([[0.0, 1, 5], [0, 1, 5], [0, 1, 9], [3, 1, 9]])
    np.testing.assert_array_equal(clip_segments(level, STRICT), [[[0, 1, 5], [0, 1, 9]], [[0, 1, 9], [3, 1, 9]]])
    for outside in (level + np.array([0, 10, 0]), level - [0, 0, 9]):
        assert len(clip_segments(outside, STRICT)) == 0


def test_published_protocol_cuts_at_the_range_and_joins_across_the_camera_plane():
    z = np.array([5.0, 10, 200, 20, -3, 30, 40])
    points = np.stack([np.zeros(7), np.ones(7), z], -1)
    segments = published_segments(points, PUBLISHED)
    np.testing.assert_array_equal(segments[..., 2], [[5, 10], [20, 30], [30, 40]])
    assert len(published_segments(points + np.array([0, 20, 0]), PUBLISHED)) == 0


def test_a_lane_is_where_the_camera_projects_it_and_as_thick_as_stated():
    lane = line(-1.7, -20, 60, 400)
    strict, published = (rasterize_lanes([lane], K, CAMERA, 640, 360, protocol) for protocol in (STRICT, PUBLISHED))
    depth = np.linspace(4.5, 55, 100)
    row, column = (180 + 500 * HEIGHT / depth).astype(int), (320 + 500 * 1.7 / depth).astype(int)
    assert strict[row, column].all() and published[row, column].all()
    # Perpendicular to the line, whose slope in the image is HEIGHT / 1.7.
    across = np.sin(np.arctan2(HEIGHT, 1.7))
    np.testing.assert_allclose(strict[250].sum() * across, 5, atol=1)
    assert not strict[:180].any() and published.sum() > strict.sum()


def test_what_the_picture_shows_does_not_depend_on_image_size_or_world_frame(rng):
    lanes = [line(y, -30, 90, 200) for y in (-1.7, 1.7, 5.0)]
    moved = np.eye(4)
    moved[:3, :3], moved[:3, 3] = Rotation.random(rng=rng).as_matrix(), rng.normal(size=3) * 100
    others = [Lane(lane.kind, lane.points @ moved[:3, :3].T + moved[:3, 3]) for lane in lanes]
    for protocol in (STRICT, PUBLISHED):
        expected = rasterize_lanes(lanes, K, CAMERA, 640, 360, protocol)
        larger = rasterize_lanes(lanes, np.diag([2.5, 3, 1]) @ K, CAMERA, 1600, 1080, protocol)
        assert expected.mean() > 0.01 and (larger ^ expected).mean() < 1e-4
        assert (rasterize_lanes(others, K, moved @ CAMERA, 640, 360, protocol) ^ expected).mean() < 1e-4


def test_only_the_strict_protocol_keeps_the_visible_part_of_long_segments():
    long, fine = line(1.7, -10, 100, 2), line(1.7, -10, 100, 2000)
    assert not rasterize_lanes([long], K, CAMERA, 640, 360).any()
    strict = rasterize_lanes([long], K, CAMERA, 640, 360, STRICT)
    assert strict.sum() > 200
    assert (strict ^ rasterize_lanes([fine], K, CAMERA, 640, 360, STRICT)).sum() <= 2


def test_a_crosswalk_gives_its_two_long_sides_whichever_corner_comes_first():
    corners = np.array([[10.0, 4, 0], [10, -4, 0], [13, -4, 0], [13, 4, 0]])
    sides = [Lane("road_edge", corners[[0, 1]]), Lane("road_edge", corners[[2, 3]])]
    expected = rasterize_lanes(sides, K, CAMERA, 640, 360)
    for shift in range(4):
        outline = np.roll(corners, shift, 0)
        for points in (outline, np.concatenate([outline, outline[:1]]), outline[::-1].copy()):
            np.testing.assert_array_equal(rasterize_lanes([Lane("crosswalk", points)], K, CAMERA, 640, 360), expected)
    five = np.insert(corners, 1, [10, 0, 0], axis=0)
    assert not rasterize_lanes([Lane("crosswalk", five)], K, CAMERA, 640, 360).any()


def test_no_lanes_and_bad_input():
    assert rasterize_lanes([], K, CAMERA, 640, 360).shape == (lane_raster.HEIGHT, lane_raster.WIDTH)
    with pytest.raises(ValueError, match="lane_line, road_edge, crosswalk"):
        rasterize_lanes([Lane("kerb", np.zeros((2, 3)))], K, CAMERA, 640, 360)
    with pytest.raises(ValueError, match="width=0"):
        rasterize_lanes([], K, CAMERA, 0, 360)
