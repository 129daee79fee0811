from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.loader import camera_of, load_image
from ff_jax.data.points.visibility import _BLOCK, NEAR, color_points, inside_box, is_visible, project_points
from tests.ff_jax.data import tiny
from tests.random_inputs import seeded_rng


@pytest.fixture
def scene(tmp_path):
    return tiny.make_scene(tmp_path, seeded_rng())


def random_points(count=200):
    return seeded_rng().uniform([-5, -8, -8], [25, 8, 8], (count, 3))


def test_projection_agrees_with_the_camera_of_the_frame(scene):
    frame, xyz = scene.frames[3], random_points()
    pixels, depth, inside = project_points(frame, xyz)
    camera = camera_of(frame)
    assert 0 < inside.sum() < len(xyz)
    for i, point in enumerate(xyz):
        x, y, z = np.asarray(camera.camera_from_world @ jnp.append(jnp.asarray(point, jnp.float32), 1.0))[:3]
        assert np.isclose(depth[i], z, atol=1e-4)
        u, v = np.asarray(camera.K)[:2] @ [x / z, y / z, 1]
        expected = z > NEAR and 0 <= u < frame.width and 0 <= v < frame.height
        assert inside[i] == expected
        if expected:
            np.testing.assert_allclose(pixels[i], [u, v], atol=1e-3)


def test_color_is_that_of_the_nearest_time(scene):
    xyz = random_points()
    times = np.full(len(xyz), 0.1)
    rgb, visible = color_points(scene, xyz, times)
    np.testing.assert_array_equal(visible, is_visible(scene, xyz))
    np.testing.assert_array_equal(rgb[~visible], 0.5)
    frame = scene.frames[2]  # camera a at 0.1 s, the first of its time
    pixels, _, inside = project_points(frame, xyz)
    assert inside.any()
    image = load_image(frame)
    for i in np.flatnonzero(inside):
        u, v = pixels[i]
        np.testing.assert_array_equal(rgb[i], image[int(v), int(u)])


def test_many_points_are_processed_in_blocks_like_few(scene):
    xyz = random_points(2 * _BLOCK + 7)
    frames = [frame for frame in scene.frames if frame.split == "train"]
    projected = [project_points(frame, xyz) for frame in frames]
    inside = np.stack([in_image for _, _, in_image in projected])
    np.testing.assert_array_equal(is_visible(scene, xyz), inside.any(0))
    nearest = np.where(inside, np.stack([depth for _, depth, _ in projected]), np.inf).argmin(0)
    rgb, _ = color_points(scene, xyz)
    for number, frame in enumerate(frames):
        rows = inside.any(0) & (nearest == number)
        column, row = projected[number][0][rows].astype(int).T
        np.testing.assert_array_equal(rgb[rows], load_image(frame)[row, column])


def test_test_frames_neither_color_nor_see(scene):
    xyz = random_points()
    frames = tuple(replace(f, split="train" if f.time_index == 0 else "test") for f in scene.frames)
    only_first = replace(scene, frames=tuple(f for f in frames if f.split == "train"))
    mixed = replace(scene, frames=frames)
    for a, b in zip(color_points(mixed, xyz), color_points(only_first, xyz), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(is_visible(mixed, xyz), is_visible(only_first, xyz))


def test_points_in_a_turned_box():
    from scipy.spatial.transform import Rotation

    rng = seeded_rng()
    box = tiny.pose(*rng.normal(size=3))
    box[:3, :3] = Rotation.random(rng=rng).as_matrix()
    box = tiny.Box("1", "vehicle", 0, box, np.array([4.0, 2.0, 1.0]))
    local = rng.uniform(-3, 3, (500, 3))
    world = local @ box.world_from_object[:3, :3].T + box.world_from_object[:3, 3]
    expected = [abs(x) <= 2.5 and abs(y) <= 1.5 and abs(z) <= 1 for x, y, z in local]
    np.testing.assert_array_equal(inside_box(box, world, 0.5), expected)
