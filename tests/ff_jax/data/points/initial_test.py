from dataclasses import replace

import numpy as np
import pytest

from ff_jax.data.formats.cameras_json import load
from ff_jax.data.lazy_arrays import Source
from ff_jax.data.points import initial, lidar
from ff_jax.data.points.visibility import inside_box, is_visible, project_points
from ff_jax.data.scene_data import Frame, LidarSweep, SparsePoints
from tests.ff_jax.data import tiny
from tests.random_inputs import seeded_rng


@pytest.fixture
def scene(tmp_path):
    return tiny.make_scene(tmp_path, seeded_rng())


@pytest.fixture
def rng():
    return seeded_rng()


def constant_sweep(xyz, step=0):
    rows = np.pad(np.asarray(xyz, np.float32), ((0, 0), (0, 1)))
    return LidarSweep(step, tiny.pose(step), Source("rays", lambda: rows))


def test_lidar_depth_keeps_the_nearest_in_the_exact_pixel(scene, rng):
    frame = scene.frames[0]
    xyz = rng.uniform([1, -4, -3], [30, 4, 3], (500, 3))
    scene = replace(scene, sweeps=(constant_sweep(xyz), constant_sweep(xyz * 0 + 5, step=1)))
    expected = np.zeros((frame.height, frame.width))
    for x, y, z in xyz.astype(np.float32):
        u, v = 20 * -y / x + 12, 20 * -z / x + 8  # by hand: the camera sits at the ego, looking along x
        if 0 <= u < 24 and 0 <= v < 16 and 2 <= x <= 25:
            old = expected[int(v), int(u)]
            expected[int(v), int(u)] = x if old == 0 else min(old, x)
    depth = lidar.lidar_depth(scene, frame, min_depth=2.0, max_depth=25.0)
    visible = depth > 0  # points at random hide many others
    np.testing.assert_allclose(depth[visible], expected[visible], rtol=1e-5)
    assert 20 < visible.sum() < (expected > 0).sum()
    assert lidar.lidar_depth(scene, replace(frame, time_index=2)).max() == 0


def test_lidar_points_are_static_seen_unique_and_few(scene, rng):
    xyz, rgb = lidar.lidar_points(scene, 1000, rng, voxel=0.0)
    world = [sweep.load_world() for sweep in scene.sweeps]
    static = [w[~inside_box(scene.boxes[i], w, lidar.BOX_MARGIN)] for i, w in enumerate(world)]
    expected = np.concatenate(static)
    expected = expected[is_visible(scene, expected)]
    expected = expected.astype(np.float32)
    np.testing.assert_array_equal(xyz[np.lexsort(xyz.T)], expected[np.lexsort(expected.T)])
    assert rgb.shape == xyz.shape and rgb.min() >= 0 and rgb.max() <= 1
    few, _ = lidar.lidar_points(scene, 7, rng)
    assert len(few) == 7
    coarse, _ = lidar.lidar_points(scene, 1000, rng, voxel=2.0)
    cells = np.floor(coarse / 2.0)
    assert len(np.unique(cells, axis=0)) == len(coarse) < len(xyz)


def test_of_a_long_log_cubes_are_drawn_evenly(scene, rng, monkeypatch):
    whole, _ = lidar.lidar_points(scene, 1000, rng)
    monkeypatch.setattr(lidar, "POINT_CAPACITY", 40)
    monkeypatch.setattr(lidar, "CAPACITY_FACTOR", 0)
    some, _ = lidar.lidar_points(scene, 1000, rng)
    assert 0 < len(some) <= 40 < len(whole) and set(map(tuple, some)) < set(map(tuple, whole))
    # Neighboring cubes, on both sides of the origin: what is drawn depends on no coordinate.
    cubes = np.stack(np.meshgrid(*[np.arange(-20, 20) * 0.05 + 0.025] * 3, [0.0]), -1).reshape(-1, 4)
    half, quarter = (lidar._subsample_voxels(cubes, share, 0.05) for share in (0.5, 0.25))
    assert len(half) == pytest.approx(len(cubes) / 2, rel=0.05) and set(map(tuple, quarter)) < set(map(tuple, half))
    assert len(quarter) == pytest.approx(len(cubes) / 4, rel=0.05)
    for axis in range(3):
        counts = np.unique(quarter[:, axis], return_counts=True)[1]
        assert len(counts) == 40 and np.abs(counts - 400).max() < 6 * np.sqrt(300)


def test_random_points_are_all_seen_and_far_ones_are_above_the_road(scene, rng):
    xyz, rgb = initial.random_points(rng, scene, 101, near=6.0, far=50.0)
    assert xyz.shape == rgb.shape == (101, 3) and is_visible(scene, xyz.astype(float)).all()
    near, far = xyz[:50], xyz[50:]
    assert near[:, 0].max() < 2 + 6 and near[:, 2].min() >= -initial.FLOOR
    distance = np.linalg.norm(far - [1, 0, 0], axis=1)
    assert far[:, 2].min() >= -1e-3 and 7 <= distance.min() and distance.max() <= 7.01 * 50
    # Evenly distributed inverse distance: the median is near two radii.
    assert 1.3 * 7 < np.median(distance) < 4 * 7


def test_random_points_give_up_when_no_camera_sees_the_road(scene, rng):
    away = tuple(replace(f, world_from_camera=tiny.pose(0, 0, 1e6)) for f in scene.frames)
    with pytest.raises(ValueError, match=r"'tiny': 0 of"):
        initial.random_points(rng, replace(scene, frames=away), 10)


def test_nearest_distances_equal_brute_force(rng):
    xyz = rng.normal(size=(40, 3))
    distances = np.linalg.norm(xyz[:, None] - xyz[None], axis=-1)
    expected = np.sort(distances, 1)[:, 1:4].mean(1)
    np.testing.assert_allclose(initial.nearest_distances(xyz), expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"3 point\(s\) do not have 3 neighbors"):
        initial.nearest_distances(xyz[:3])


def plane_scene(scene, rng, count=150):
    """Return the scene without LiDAR and with sparse points on a plane x(y, z), and the plane."""
    slope = rng.uniform(-0.3, 0.3, 2)
    y, z = rng.uniform(-6, 6, (2, count))
    xyz = np.stack([12 + slope[0] * y + slope[1] * z, y, z], -1)
    return replace(scene, sweeps=(), points=SparsePoints(xyz)), lambda y, z: 12 + slope[0] * y + slope[1] * z


def test_interpolated_points_lie_on_a_plane(scene, rng):
    scene, plane = plane_scene(scene, rng)
    xyz, rgb = initial.interpolated_points(rng, scene, 400, reach=0.2)
    assert 100 < len(xyz) <= 400 and rgb.shape == xyz.shape
    np.testing.assert_allclose(xyz[:, 0], plane(xyz[:, 1], xyz[:, 2]), atol=1e-3)
    assert is_visible(scene, xyz.astype(float)).mean() > 0.99


def test_images_whose_sparse_points_are_on_a_line_are_left_out(scene, rng):
    scene, _ = plane_scene(scene, rng)
    y = np.linspace(-3, 3, 30)
    line = SparsePoints(np.stack([np.full(30, 12.0), y, 0.5 * y], -1))
    xyz, _ = initial.interpolated_points(rng, replace(scene, points=line), 100)
    assert len(xyz) == 0
    with_line, _ = initial.initial_points(replace(scene, points=line), 50, rng)
    assert len(with_line) >= 30


def test_initial_points_use_what_the_log_has(scene, rng):
    xyz, rgb = initial.initial_points(scene, 60, rng, random_share=0.5)
    assert len(xyz) == len(rgb) <= 60
    lidar = np.concatenate([sweep.load_world() for sweep in scene.sweeps])
    apart = np.linalg.norm(xyz[:, None] - lidar[None], axis=-1).min(1)
    assert (apart[:30] < 1e-4).all() and (apart[-30:] > 1e-4).all()

    sparse, plane = plane_scene(scene, rng)
    xyz, _ = initial.initial_points(sparse, 600, rng, random_share=0.25)
    on_plane = np.abs(xyz[:, 0] - plane(xyz[:, 1], xyz[:, 2])) < 1e-3
    assert 100 < len(xyz) <= 600 and 0.5 < on_plane.mean() < 0.9

    bare = replace(scene, sweeps=(), points=None)
    xyz, _ = initial.initial_points(bare, 50, rng)
    assert len(xyz) == 50
    with pytest.raises(ValueError, match="total=0"):
        initial.initial_points(bare, 0, rng)
    with pytest.raises(ValueError, match="has no sparse points"):
        initial.sparse_points(bare)


def test_sparse_points_keep_their_colors(scene, rng):
    xyz, rgb = rng.random((2, 5, 3)).astype(np.float32)
    actual = initial.sparse_points(replace(scene, points=SparsePoints(xyz, rgb)))
    np.testing.assert_array_equal(actual, (xyz, rgb))


@pytest.mark.assets
def test_points_between_sparse_points_agree_with_stereo(assets, rng):
    folder = assets / "data" / "kitti02_stereo_color"
    scene = load(folder)
    xyz, _ = initial.interpolated_points(rng, scene, 20_000)
    frame: Frame = scene.frames[20]
    truth = np.load(folder / "stereo_points.npz")["xyz"].astype(float)
    true_pixels, true_depth, inside = project_points(frame, truth)
    image = np.zeros((frame.height, frame.width))
    column, row = true_pixels[inside].astype(int).T
    image[row, column] = true_depth[inside]
    pixels, depth, inside = project_points(frame, xyz.astype(float))
    column, row = pixels[inside].astype(int).T
    vertices = image[row, column] > 0
    error = np.abs(depth[inside][vertices] / image[row, column][vertices] - 1)
    assert vertices.sum() > 500 and np.median(error) < 0.07


@pytest.mark.assets
def test_lidar_points_of_a_real_log_show_its_colors(assets, rng):
    """Project the colored points into an image of another time: static surfaces keep their color."""
    scene = load(assets / "data" / "kitti_jam_color_lidar")
    scene = replace(scene, sweeps=scene.sweeps[::10])
    xyz, rgb = lidar.lidar_points(scene, 5000, rng)
    assert len(xyz) == 5000
    frame = scene.frames[23]
    pixels, _, inside = project_points(frame, xyz.astype(float))
    column, row = pixels[inside].astype(int).T
    image = frame.image.load()
    error = np.abs(image[row, column] - rgb[inside]).mean(1)
    shuffled = np.abs(image[row, column] - rng.permutation(rgb[inside])).mean(1)
    assert np.median(error) < 0.5 * np.median(shuffled)
