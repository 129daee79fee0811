"""The benchmark on a tiny street, with small stand-ins for the networks."""

import numpy as np
import pytest

from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import boxes_at, invert, transform
from ff_jax.data.synthetic import WorldConfig
from ff_jax.data.synthetic.driving_log import world_scene
from ff_jax.evaluation import feature_sets, report, summary
from ff_jax.evaluation.benchmark import Networks, Protocols, Queue, score_log, with_counts
from ff_jax.evaluation.renderers import Rendering
from ff_jax.evaluation.shifted_views import targets
from ff_jax.metrics import fid
from ff_jax.metrics.detectors import Detections

SHIFTS = (0.0, 2.0)


def colours(images):
    """Stand in for the feature network: mean colours of nine parts."""
    rows = [np.stack([p.mean((1, 2)) for p in np.array_split(band, 3, 2)], 1) for band in np.array_split(images, 3, 1)]
    return np.concatenate(rows, 1).reshape(len(images), -1).astype(np.float32)


@pytest.fixture(scope="module")
def log():
    config = WorldConfig(num_frames=4, moving=False)
    return world_scene(5, config, 64, 40, test_shifts=(2.0,))


def true_view(target):
    eig = np.linspace(0, 2, 40 * 64).reshape(40, 64)
    return Rendering(load_image(target.frame), np.full((40, 64), 9.0), eig)


def darker(target):
    return Rendering(0.8 * true_view(target).rgb)


@pytest.fixture(scope="module")
def board(log):
    lanes = lambda image: np.zeros((360, 640), bool)
    renderers = {"true": true_view, "darker": darker}
    return score_log(
        log, targets(log, SHIFTS, 99), renderers, Networks(inception=colours, lanes=lanes), Protocols(threshold=1.0)
    )


def test_true_views_are_perfect_and_others_are_not(board):
    true, dark = (summary.summarize(board, name, 0.0) for name in ("true", "darker"))
    assert "psnr" not in true and true["ssim"].mean == pytest.approx(1, abs=1e-4)  # the PSNR is infinite
    assert true["fid"].mean == pytest.approx(0, abs=1e-6) and true["fid"].count == 4
    assert true["fid_ucr"].mean == pytest.approx(0, abs=1e-6)
    assert dark["fid"].mean > 1e-3 and dark["fid_hpr"].mean > 1e-3
    assert 10 < dark["psnr"].low < dark["psnr"].mean < dark["psnr"].high < 30
    assert summary.summarize(board, "true", 2.0)["fid"].mean > 1e-5  # other places, other colours


def test_regions_of_the_fixed_map_add_up_to_the_whole(board, log):
    frames = board.cells["darker", 2.0].frames  # this version has no EIG of its own
    for frame in frames:
        share = frame["ucr_share"]
        error = {end: 10 ** (-frame["psnr" + end] / 10) for end in ("", "_ucr", "_hpr")}
        assert share == pytest.approx(0.5, abs=0.01) and "eig" not in frame
        assert error[""] == pytest.approx(share * error["_ucr"] + (1 - share) * error["_hpr"], rel=1e-3)


def test_a_network_without_lanes_scores_half_the_background(board):
    found = summary.summarize(board, "true", 0.0)
    assert found["lane"].mean == 0 and found["lane_strict"].mean == 0
    assert found["ntl"].mean == pytest.approx(found["background"].mean / 2)
    assert 80 < found["background"].mean < 100


def test_depth_and_warp_need_depth_and_neighbours(board):
    true, dark = board.cells["true", 0.0], board.cells["darker", 0.0]
    assert len(true.warps) == 3 and not dark.warps and dark.depth is None
    assert summary.summarize(board, "true", 0.0)["depth_mae"].mean > 0.5  # a wall at 9 m is wrong


def test_every_camera_of_a_rig_is_compared_with_its_own_next_view():
    rig = world_scene(5, WorldConfig(num_frames=3, moving=False), 64, 40, ("front", "front_left"), lidar=False)
    chosen = targets(rig, (0.0,), 99)
    assert [t.frame.camera for t in chosen] == ["front"] * 3 + ["front_left"] * 3
    assert [t.frame.time_index for t in chosen] == [0, 1, 2] * 2
    shown = lambda target: Rendering(load_image(target.frame), np.full((40, 64), 9.0))
    cell = score_log(rig, chosen, {"true": shown}, Networks()).cells["true", 0.0]
    assert len(cell.warps) == 4  # two pairs of each camera, none across cameras


def test_what_nothing_defines_is_left_out_and_breaks_no_mean_over_logs(log):
    blind = lambda image: Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    one = score_log(log, targets(log, (0.0,), 2), {"true": true_view}, Networks(detector=blind))
    found = summary.over_seeds({0: one, 1: one}, "true", 0.0)
    assert "precision_strict" not in found  # no detection is right or wrong
    assert found["recall_strict"].mean == 0 and found["vehicles_strict"].mean >= 1


def test_points_in_boxes_are_counted_where_labels_do_not_tell(log):
    points = log.sweeps[1].load_world()
    counted = boxes_at(with_counts(log, 1, points), 1)
    assert len(counted) == len(boxes_at(log, 1)) > 3
    for box in counted:
        local = np.abs(transform(invert(box.world_from_object), points))
        assert box.num_points == sum(all(row <= box.size / 2) for row in local)
    assert max(box.num_points for box in counted) > 10
    assert boxes_at(with_counts(log, 1, None), 1)[0].num_points == -1


def test_queue_keeps_every_picture_in_its_stream():
    rng = np.random.default_rng()
    pictures = [rng.random((12 + 3 * (i > 12), 9, 3)) for i in range(21)]  # another size in between
    seen = []
    network = lambda batch: seen.append(len(batch)) or colours(batch)
    streams, queue = {}, Queue(network)
    for i, picture in enumerate(pictures):
        queue = queue.add(streams, i % 2, picture)
    queue.flush()
    for key in (0, 1):
        expected = np.concatenate([colours(picture[None]) for picture in pictures[key::2]])
        np.testing.assert_allclose(streams[key].sample.rows, expected, rtol=1e-6)
    assert seen == [8, 5, 8]


def test_long_streams_keep_exact_moments_and_bounded_samples():
    rng = np.random.default_rng()
    a, b = rng.normal(size=(300, 5)), rng.normal(0.3, 1.2, (40, 5))
    long, short = (feature_sets.start(5, cap=50) for _ in range(2))
    for part in np.array_split(a, 17):
        long = feature_sets.extend(long, part)
    short = feature_sets.extend(short, b)
    assert len(long.sample.rows) == 50 and short.moments is None
    found = feature_sets.distance(long, short)
    assert found[1:] == (300, 40)
    np.testing.assert_allclose(found.value, fid.fid_of_features(a, b).value, rtol=1e-4)
    assert np.isfinite(feature_sets.kernel_distance(long, short).mean)


def test_joined_streams_are_one_stream():
    rng = np.random.default_rng()
    parts = [rng.normal(size=(n, 4)) for n in (30, 45, 20)]
    whole = np.concatenate(parts)
    for cap in (20, 40, 1000):  # each part or only the first or none is sampled
        streams = [feature_sets.extend(feature_sets.start(4, cap), part) for part in parts]
        joined = feature_sets.join(feature_sets.join(streams[0], streams[1]), streams[2])
        value = feature_sets.distance(joined, feature_sets.extend(feature_sets.start(4), whole + 1)).value
        np.testing.assert_allclose(value, fid.fid_of_features(whole, whole + 1).value, rtol=1e-4)
        assert joined.sample.seen == 95 and len(joined.sample.rows) == min(cap, 95)


def test_over_seeds_is_the_mean_of_the_logs(board, log):
    other = score_log(log, targets(log, (0.0,), 2), {"darker": darker}, Networks(inception=colours))
    boards = {0: board, 1: other}
    found = summary.over_seeds(boards, "darker", 0.0)
    each = [summary.summarize(b, "darker", 0.0) for b in boards.values()]
    assert found["psnr"].mean == pytest.approx(np.mean([e["psnr"].mean for e in each]))
    assert found["psnr"].count == 2 and np.isnan(found["psnr"].low) and "lane" not in found
    pooled = summary.pooled(list(boards.values()))["darker", 0.0]
    assert pooled["fid_pooled"].count == 6


def test_differences_pair_versions_on_the_same_log(board):
    found = summary.differences({0: board, 1: board, 2: board}, "true", "darker", 0.0)
    true, dark = (summary.summarize(board, name, 0.0) for name in ("true", "darker"))
    assert found["ssim"].mean == pytest.approx(dark["ssim"].mean - true["ssim"].mean)
    assert found["ssim"].low == pytest.approx(found["ssim"].high) and found["ssim"].count == 3
    assert "psnr" not in found  # that of the true views is infinite
    table = report.difference_table({0: board, 1: board, 2: board})
    row = next(row for row in table.rows if row[0].startswith("SSIM"))
    assert table.columns == ("metric", "recorded path", "2 m left") and row[1].startswith("-0.")
