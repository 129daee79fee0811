"""LiDAR depth: projection against the loader's, leaks against true depth, scores against direct sums."""

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.points.lidar import lidar_depth
from ff_jax.data.scene_data import Frame, LidarSweep, SceneData, transform
from ff_jax.data.synthetic import StreetConfig, make_street, render_street
from ff_jax.data.synthetic.camera_rig import rig_camera
from ff_jax.metrics.lidar_depth import BIN, aggregate, depth_sums, project_sweep, remove_occluded, score
from ff_jax.render.camera import make_camera
from tests.random_inputs import seeded_rng

WIDTH, HEIGHT = 240, 160


@pytest.fixture
def rng():
    return seeded_rng()


@pytest.fixture
def maps(rng):
    truth = rng.uniform(1, 100, (40, 50)).astype(np.float32)
    sparse = np.where(rng.random(truth.shape) < 0.3, truth, 0).astype(np.float32)
    return truth * np.exp(0.2 * rng.normal(size=truth.shape)).astype(np.float32), sparse


@pytest.fixture(scope="module")
def street():
    """Return true depth of one view of the built-in street, and sparse depth from a place 0.6 m ahead and 0.5 m above.

    The second stands for a LiDAR: points in every 5th row and 2nd column of a depth map, with 2 cm of noise.
    """
    world = make_street(1, StreetConfig())
    depth_of = jax.jit(lambda camera: render_street(world, camera, 0.0, samples=1).depth)
    camera = rig_camera(world, 0, "front", WIDTH, HEIGHT)
    K, pose = np.asarray(camera.K, float), np.asarray(camera.world_from_camera, float)
    above = pose.copy()
    above[:3, 3] += [0.6, 0, 0.5]
    seen = np.asarray(depth_of(make_camera(K, above, WIDTH, HEIGHT)))
    row, column = np.mgrid[2:HEIGHT:5, 0:WIDTH:2].reshape(2, -1)
    depth = seen[row, column] + 0.02 * seeded_rng().normal(size=row.size)
    rays = np.stack([(column + 0.5 - K[0, 2]) / K[0, 0], (row + 0.5 - K[1, 2]) / K[1, 1], np.ones(row.size)], -1)
    points = transform(above, rays * depth[:, None])[seen[row, column] > 0]
    return np.asarray(depth_of(camera)), project_sweep(points, K, pose, WIDTH, HEIGHT)


def test_projection_equals_the_loaders(rng):
    K, pose = np.array([[20.0, 0, 12], [0, 20, 8], [0, 0, 1]]), np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_rotvec(0.3 * rng.normal(size=3)).as_matrix(), rng.normal(size=3)
    points = np.pad(rng.uniform([-9, -5, -3], [9, 5, 30], (500, 3)), ((0, 0), (0, 1)))
    frame = Frame("front", 0, 0.0, K, pose, 24, 16, Source("no image", lambda: None))
    sweep = LidarSweep(0, np.eye(4), Source("points", lambda: points))
    log = SceneData("tiny", "made in a test", "none", np.zeros(1), np.eye(4)[None], (frame,), (sweep,))
    found = project_sweep(points[:, :3], K, pose, 24, 16)
    assert (found > 0).sum() > 20
    expected = lidar_depth(log, frame)
    np.testing.assert_allclose(found[expected > 0], expected[expected > 0], rtol=1e-6)
    assert (expected > 0).sum() > 10 and not expected[found == 0].any()


def test_projection_keeps_the_nearest_point_in_front():
    K = np.array([[10.0, 0, 4], [0, 10, 3], [0, 0, 1]])
    points = np.array([[0.0, 0, 9], [0, 0, 5], [0, 0, -5], [0.6, 0, 10], [9, 0, 10], [0, 0, 0.1]])
    expected = np.zeros((6, 8))
    expected[3, 4] = 5
    np.testing.assert_array_equal(project_sweep(points, K, np.eye(4), 8, 6), expected)


def test_visible_equals_a_naive_window(maps):
    sparse = maps[1]
    found = remove_occluded(sparse, 2, 0.15)
    for y, x in np.argwhere(sparse > 0):
        window = sparse[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
        hidden = sparse[y, x] > 1.15 * window[window > 0].min()
        assert found[y, x] == (0 if hidden else sparse[y, x])
    assert not found[sparse == 0].any()


@pytest.mark.slow
def test_leaks_disappear_and_most_other_points_stay(street):
    truth, sparse = street
    known = (sparse > 0) & (truth > 0)
    leak = known & (sparse > 1.05 * truth + 0.2)
    good = known & (np.abs(sparse - truth) <= 0.05 * truth + 0.2)
    kept = remove_occluded(sparse, radius=2) > 0
    assert leak.sum() / known.sum() > 0.015
    assert (leak & kept).sum() < 0.4 * leak.sum() and (good & kept).sum() > 0.8 * good.sum()


@pytest.mark.slow
def test_true_depth_has_no_error_but_for_leaks_and_noise(street):
    truth, sparse = street
    before, after = (
        score(np.where(truth > 0, truth, np.nan), points) for points in (sparse, remove_occluded(sparse, radius=2))
    )
    assert after.mae < 0.6 * before.mae and after.delta > before.delta > 0.9
    assert before.median < 0.06 and after.median < 0.06  # ranges are noisy by 2 cm; a median forgives leaks


def test_scores_equal_direct_sums(maps):
    depth, sparse = maps
    known = (sparse > 0) & (sparse <= 80)
    a, b = depth[known].astype(float), sparse[known].astype(float)
    error = np.abs(a - b)
    found = score(depth, sparse)
    expected = (error.mean(), np.sqrt((error**2).mean()), (error / b).mean(), (np.maximum(a / b, b / a) < 1.25).mean())
    np.testing.assert_allclose(found[:4], expected, rtol=1e-6)
    np.testing.assert_allclose(found.median, np.median(error), atol=0.1)
    assert found.count == known.sum() and found.coverage == 1


def test_median_is_exact_to_a_bin(rng):
    error = rng.exponential(2.0, 20_000).astype(np.float32)
    sparse = np.full((1, 20_000), 10, np.float32)
    np.testing.assert_allclose(score(sparse + error[None], sparse).median, np.median(error), atol=2 * BIN)


def test_streams_equal_the_whole(maps):
    depth, sparse = maps
    parts = [depth_sums(depth[rows], sparse[rows]) for rows in (slice(0, 7), slice(7, 8), slice(8, 40))]
    np.testing.assert_allclose(aggregate(parts), score(depth, sparse))


def test_missing_depth_lowers_the_coverage_and_zero_counts_as_it_is():
    sparse = np.array([[10.0, 20, 0, np.nan]])
    missing = score(np.array([[10.5, np.nan, 3, 3]]), sparse)
    assert (missing.mae, missing.count, missing.coverage) == (0.5, 1, 0.5)
    zero = score(np.array([[10.5, 0, 3, 3]]), sparse)
    assert (zero.mae, zero.delta, zero.coverage) == (10.25, 0.5, 1)
    nothing = score(np.full((1, 4), np.nan), sparse)
    assert np.isnan(nothing[:5]).all() and nothing.count == nothing.coverage == 0


def test_bad_input_is_named(maps):
    with pytest.raises(ValueError, match="at least one frame"):
        aggregate([])
    with pytest.raises(ValueError, match="radius=0"):
        remove_occluded(maps[1], 0)
