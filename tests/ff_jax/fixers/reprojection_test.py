"""Re-projection of real images into rendered views."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.reprojection import AlignConfig, Views, align, align_each, nearest_sources, seen_shares
from ff_jax.render.renderer import expected_depth
from tests.random_inputs import seeded_rng

# Two programs are compared where what is seen lies on the edges of pixels.
pytestmark = [pytest.mark.usefixtures("optimized_module"), pytest.mark.slow]
WIDTH, HEIGHT, FOCAL = 32, 20, 24.0
K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]], np.float32)
CONFIG = AlignConfig(num_sources=2)
SOURCES_ONLY = dataclasses.replace(CONFIG, cost_scale=1e3)  # the render takes over only where nothing agrees


def texture(x, y):
    """Return a smooth color for every point of a wall."""
    return np.stack([0.5 + 0.4 * np.sin(x), 0.5 + 0.4 * np.cos(0.7 * y), 0.5 + 0.3 * np.sin(x + y)], -1)


def wall(right, depth=8.0, shade=1.0):
    """Return the view of a textured wall `depth` meters ahead from a camera moved `right` meters."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    rgb = texture((x - K[0, 2]) * depth / FOCAL + right, (y - K[1, 2]) * depth / FOCAL)
    pose = np.eye(4, dtype=np.float32)
    pose[0, 3] = -right
    return (shade * rgb).astype(np.float32), np.full((HEIGHT, WIDTH), depth, np.float32), K, pose


def views(*parts):
    return Views(*(jnp.stack([jnp.asarray(part[i]) for part in parts]) for i in range(4)))


def test_a_wall_seen_from_beside_is_brought_into_place():
    truth = wall(0.0)
    blurred = (0.9 * truth[0] + 0.05).astype(np.float32)
    got = align(views((blurred, *truth[1:])), views(wall(1.0), wall(-1.5)), np.array([[0, 1]]), CONFIG)
    np.testing.assert_allclose(got[0, :, 5:-5], truth[0][:, 5:-5], atol=0.02)  # where both sources look


def test_where_no_source_sees_anything_the_render_stays():
    view = (np.full((HEIGHT, WIDTH, 3), 0.3, np.float32), *wall(0.0)[1:])
    # 3 m to the right, a wall 8 m away moves 9 pixels to the left: the 9 leftmost columns are out of sight.
    trusting = dataclasses.replace(CONFIG, log_depth_span=0.0, cost_scale=10.0, cost_radius=0)
    got = align(views(view), views(wall(3.0), wall(4.0)), np.array([[0, 1]]), trusting)
    np.testing.assert_array_equal(got[0, :, :9], view[0][:, :9])
    np.testing.assert_allclose(got[0, :, 13:], wall(0.0)[0][:, 13:], atol=0.02)


def test_where_one_source_alone_sees_a_point_the_render_stays():
    view = (np.full((HEIGHT, WIDTH, 3), 0.3, np.float32), *wall(0.0)[1:])
    got = align(views(view), views(wall(0.5)), np.array([[0]]), CONFIG)
    np.testing.assert_array_equal(got[0], view[0])


def test_where_the_sources_contradict_each_other_the_render_stays():
    rng = seeded_rng()
    view = wall(0.0)
    noisy = [(rng.random((HEIGHT, WIDTH, 3), np.float32), *wall(x)[1:]) for x in (-1.0, -0.5, 0.5, 1.0)]
    got = align(views(view), views(*noisy), np.array([[0, 1, 2, 3]]), AlignConfig(num_sources=4))
    assert np.abs(got[0] - view[0]).mean() < 0.1 * np.abs(noisy[0][0] - view[0]).mean()


def test_a_wrong_depth_is_corrected():
    right = wall(0.0)
    wrong = (right[0], right[1] * np.float32(np.exp(0.2 / 3)), *right[2:])  # one of the depths tried undoes this
    sources = views(wall(-2.0), wall(-1.0), wall(1.0), wall(2.0))
    error = lambda config: np.abs(align(views(wrong), sources, np.array([[0, 1, 2, 3]]), config)[0] - right[0]).mean()
    exact = dataclasses.replace(CONFIG, num_sources=4, cost_scale=10.0)
    assert error(exact) < 0.5 * error(dataclasses.replace(exact, log_depth_span=0.0, num_depths=1))


def test_a_source_that_sees_something_nearer_is_left_out():
    view, hidden = wall(0.0), wall(1.0, shade=0.2)
    hidden = (hidden[0], np.full((HEIGHT, WIDTH), 3.0, np.float32), *hidden[2:])
    seen = wall(-1.0), wall(0.5)
    got = align(views(view), views(hidden, *seen), np.array([[0, 1, 2]]), SOURCES_ONLY)
    alone = align(views(view), views(*seen), np.array([[0, 1]]), SOURCES_ONLY)
    np.testing.assert_allclose(got, alone, atol=1e-5)


def test_a_source_of_other_color_hardly_counts():
    view = wall(0.0)
    got = align(views(view), views(wall(0.5, shade=0.3), wall(-0.5)), np.array([[0, 1]]), SOURCES_ONLY)
    np.testing.assert_allclose(got[0, :, 3:-3], view[0][:, 3:-3], atol=0.03)


def test_a_point_behind_the_source_is_not_seen():
    view = wall(0.0)
    behind = wall(0.0)
    pose = np.diag([-1.0, 1.0, -1.0, 1.0]).astype(np.float32)
    turned = (1 - behind[0], *behind[1:3], pose)
    got = align(views(view), views(turned, turned), np.array([[0, 1]]), CONFIG)
    np.testing.assert_array_equal(got[0], view[0])


def test_expected_depth_divides_by_opacity_and_puts_sky_far_away():
    got = expected_depth(jnp.array([[4.0, 8.0, 0.1]]), jnp.array([[0.8, 1.0, 0.1]]))
    np.testing.assert_allclose(got, [[5.0, 8.0, 1e4]], rtol=1e-6)


def test_nearest_sources_are_those_nearest_in_time():
    got = nearest_sources(np.array([0.0, 0.29]), np.array([0.0, 0.1, 0.2, 0.3]), 2)
    np.testing.assert_array_equal(got, [[0, 1], [3, 2]])
    assert nearest_sources(np.zeros(3), np.zeros(2), 5).shape == (3, 2)
    np.testing.assert_array_equal(nearest_sources(np.array([0.0]), np.array([0.0, 0.1, 0.2]), 2, skip=1), [[1, 2]])


def test_sources_that_see_little_of_a_view_come_last():
    shares = np.array([[0.1, 0.9, 0.5, 0.0]])
    found = nearest_sources(np.array([0.1]), np.array([0.1, 0.1, 0.3, 0.2]), 4, 0, shares)
    np.testing.assert_array_equal(found, [[1, 2, 0, 3]])


def test_the_share_that_a_source_sees():
    _, depth, _, pose = wall(0.0)
    depth = np.repeat(np.repeat(depth, 10, 0), 10, 1)  # 200 x 320 pixels of a tenth of the size
    large = np.diag([10.0, 10.0, 1.0]) @ K
    behind = np.diag([-1.0, 1.0, -1.0, 1.0])
    poses = np.stack([pose, wall(8.0 * 16 / FOCAL)[3], behind, wall(20.0)[3]]).astype(float)
    found = seen_shares(depth, (large, pose.astype(float)), (np.stack([large] * 4), poses))
    np.testing.assert_allclose(found, [1.0, 0.5, 0.0, 0.0], atol=0.06)


def test_separate_references_are_the_merged_image_and_the_nearest_sources():
    truth = wall(0.0)
    blurred = (0.9 * truth[0] + 0.05).astype(np.float32)
    sources = views(wall(1.0), wall(-1.5), wall(0.5))
    config = AlignConfig(num_sources=3, num_apart=2)
    found = align_each(views((blurred, *truth[1:])), sources, np.array([[2, 0, 1]]), config)
    assert found.shape == (1, 3, HEIGHT, WIDTH, 4)
    for reference in found[0]:
        np.testing.assert_allclose(reference[:, 5:-5, :3], truth[0][:, 5:-5], atol=0.05)
    merged = align(views((blurred, *truth[1:])), sources, np.array([[2, 0, 1]]), config)
    np.testing.assert_allclose(blurred + found[0, 0, ..., 3:] * (found[0, 0, ..., :3] - blurred), merged[0], atol=1e-5)
    # The source at 0.5 m misses the 1.5 leftmost columns, and that at 1 m three of them.
    for reference, columns in zip(found[0, 1:], (1, 3), strict=True):
        assert (reference[:, :columns, 3] == 0).all() and (reference[:, columns + 1 :, 3] > 0.5).all()
        np.testing.assert_array_equal(reference[:, :columns, :3], blurred[:, :columns])


def test_missing_sources_have_no_confidence_and_the_color_of_the_render():
    view = wall(0.0)
    found = align_each(views(view), views(wall(0.5)), np.array([[0]]), AlignConfig(num_apart=3))
    assert found.shape[1] == 4 and (found[0, 1, :, 5:, 3] > 0.5).all() and not found[0, 2:, ..., 3].any()
    np.testing.assert_array_equal(found[0, 2:, ..., :3], np.broadcast_to(view[0], (2, *view[0].shape)))
