"""Re-projection of real images into rendered views."""

import jax.numpy as jnp
import numpy as np

from ff_jax.generators.align import AlignConfig, Views, align, expected_depth, nearest_sources

WIDTH, HEIGHT, FOCAL = 32, 20, 24.0
K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]], np.float32)
CONFIG = AlignConfig(sources=2)


def texture(x, y):
    """Return a smooth colour for every point of a wall."""
    return np.stack([0.5 + 0.4 * np.sin(x), 0.5 + 0.4 * np.cos(0.7 * y), 0.5 + 0.3 * np.sin(x + y)], -1)


def wall(right, depth=8.0, shade=1.0):
    """Return the view of a textured wall `depth` metres ahead from a camera moved `right` metres."""
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
    np.testing.assert_allclose(got[0], truth[0], atol=0.02)


def test_where_no_source_sees_anything_the_render_stays():
    view = (np.full((HEIGHT, WIDTH, 3), 0.3, np.float32), *wall(0.0)[1:])
    # 3 m to the right, a wall 8 m away moves 9 pixels to the left: the 9 leftmost columns are out of sight.
    got = align(views(view), views(wall(3.0)), np.array([[0]]), CONFIG)
    np.testing.assert_array_equal(got[0, :, :9], view[0][:, :9])
    np.testing.assert_allclose(got[0, :, 9:], wall(0.0)[0][:, 9:], atol=0.02)


def test_a_source_that_sees_something_nearer_is_left_out():
    view, hidden = wall(0.0), wall(1.0, shade=0.2)
    hidden = (hidden[0], np.full((HEIGHT, WIDTH), 3.0, np.float32), *hidden[2:])
    got = align(views(view), views(hidden, wall(-1.0)), np.array([[0, 1]]), CONFIG)
    alone = align(views(view), views(wall(-1.0)), np.array([[0]]), CONFIG)
    np.testing.assert_allclose(got, alone, atol=1e-5)


def test_a_source_of_other_colour_hardly_counts():
    view = wall(0.0)
    got = align(views(view), views(wall(0.5, shade=0.3), wall(-0.5)), np.array([[0, 1]]), CONFIG)
    np.testing.assert_allclose(got[0, :, 3:-3], view[0][:, 3:-3], atol=0.03)


def test_a_point_behind_the_source_is_not_seen():
    view = wall(0.0)
    behind = wall(0.0)
    pose = np.diag([-1.0, 1.0, -1.0, 1.0]).astype(np.float32)
    got = align(views(view), views((1 - behind[0], *behind[1:3], pose)), np.array([[0]]), CONFIG)
    np.testing.assert_array_equal(got[0], view[0])


def test_expected_depth_divides_by_opacity_and_puts_sky_far_away():
    got = expected_depth(jnp.array([[4.0, 8.0, 0.1]]), jnp.array([[0.8, 1.0, 0.1]]))
    np.testing.assert_allclose(got, [[5.0, 8.0, 1e4]], rtol=1e-6)


def test_nearest_sources_are_those_nearest_in_time():
    got = nearest_sources(np.array([0.0, 0.29]), np.array([0.0, 0.1, 0.2, 0.3]), 2)
    np.testing.assert_array_equal(got, [[0, 1], [3, 2]])
    assert nearest_sources(np.zeros(3), np.zeros(2), 5).shape == (3, 2)
