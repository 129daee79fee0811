"""The benchmark on a tiny synthetic street, with simple functions as networks."""

import numpy as np
import pytest

from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import boxes_at, invert_rigid, transform
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.evaluation import feature_sets, report, summary
from ff_jax.evaluation.benchmark import score_log
from ff_jax.evaluation.feature_sets import FeatureQueue
from ff_jax.evaluation.ground_truth import Networks, Protocols, with_counts
from ff_jax.evaluation.renderers import RenderedTarget
from ff_jax.evaluation.shifted_views import targets
from ff_jax.metrics import fid
from ff_jax.metrics.detectors import Detections
from tests.random_inputs import seeded_rng

SHIFTS = (0.0, 2.0)


def mean_colors(images):
    """Compute the mean colors of nine parts: replaces the feature network."""
    rows = [np.stack([p.mean((1, 2)) for p in np.array_split(band, 3, 2)], 1) for band in np.array_split(images, 3, 1)]
    return np.concatenate(rows, 1).reshape(len(images), -1).astype(np.float32)


@pytest.fixture(scope="module")
def log():
    config = StreetConfig(num_frames=4, moving=False)
    return street_log(5, config, 64, 40, test_shifts=(2.0,))


def true_view(target):
    eig = np.linspace(0, 2, 40 * 64).reshape(40, 64)
    return RenderedTarget(load_image(target.frame), np.full((40, 64), 9.0), eig)


def darker(target):
    return RenderedTarget(0.8 * true_view(target).rgb)


@pytest.fixture(scope="module")
def table(log):
    lanes = lambda image: np.zeros((360, 640), bool)
    renderers = {"true": true_view, "darker": darker}
    return score_log(
        log, targets(log, SHIFTS, 99), renderers, Networks(inception=mean_colors, lanes=lanes), Protocols(threshold=1.0)
    )


@pytest.mark.slow
def test_true_views_are_perfect_and_others_are_not(table):
    true, dark = (summary.summarize(table, name, 0.0) for name in ("true", "darker"))
    assert "psnr" not in true and true["ssim"].mean == pytest.approx(1, abs=1e-4)  # the PSNR is infinite
    assert true["fid"].mean == pytest.approx(0, abs=1e-6) and true["fid"].count == 4
    assert true["fid_ucr"].mean == pytest.approx(0, abs=1e-6)
    assert dark["fid"].mean > 1e-3 and dark["fid_hpr"].mean > 1e-3
    assert 10 < dark["psnr"].low < dark["psnr"].mean < dark["psnr"].high < 30
    assert summary.summarize(table, "true", 2.0)["fid"].mean > 1e-5  # other places, other colors


@pytest.mark.slow
def test_regions_of_the_fixed_map_add_up_to_the_whole(table, log):
    frames = table.measurements["darker", 2.0].frames  # this version has no EIG of its own
    for frame in frames:
        share = frame["ucr_share"]
        error = {end: 10 ** (-frame["psnr" + end] / 10) for end in ("", "_ucr", "_hpr")}
        assert share == pytest.approx(0.5, abs=0.01) and "eig" not in frame
        assert error[""] == pytest.approx(share * error["_ucr"] + (1 - share) * error["_hpr"], rel=1e-3)


@pytest.mark.slow
def test_a_network_that_finds_no_lane_scores_half_the_background(table):
    values = summary.summarize(table, "true", 0.0)
    assert values["lane"].mean == 0 and values["lane_strict"].mean == 0
    assert values["ntl"].mean == pytest.approx(values["background"].mean / 2)
    assert 80 < values["background"].mean < 100


@pytest.mark.slow
def test_depth_and_warp_need_depth_and_neighbors(table):
    true, dark = table.measurements["true", 0.0], table.measurements["darker", 0.0]
    assert len(true.warps) == 3 and not dark.warps and dark.depth is None
    assert summary.summarize(table, "true", 0.0)["depth_mae"].mean > 0.5  # a wall at 9 m is wrong


@pytest.mark.slow
def test_every_camera_of_a_rig_is_compared_with_its_own_next_view():
    rig = street_log(5, StreetConfig(num_frames=3, moving=False), 64, 40, ("front", "front_left"), lidar=None)
    views = targets(rig, (0.0,), 99)
    assert [t.frame.camera for t in views] == ["front"] * 3 + ["front_left"] * 3
    assert [t.frame.time_index for t in views] == [0, 1, 2] * 2
    render = lambda target: RenderedTarget(load_image(target.frame), np.full((40, 64), 9.0))
    measurements = score_log(rig, views, {"true": render}, Networks()).measurements["true", 0.0]
    assert len(measurements.warps) == 4  # two pairs of each camera, none across cameras


@pytest.mark.slow
def test_undefined_metrics_are_left_out_of_means_over_logs(log):
    detect_nothing = lambda image: Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    one = score_log(log, targets(log, (0.0,), 2), {"true": true_view}, Networks(detector=detect_nothing))
    values = summary.over_logs({0: one, 1: one}, "true", 0.0)
    assert "precision_strict" not in values  # no detection is right or wrong
    assert values["recall_strict"].mean == 0 and values["vehicles_strict"].mean >= 1


@pytest.mark.slow
def test_points_in_boxes_are_counted_if_labels_have_no_count(log):
    points = log.sweeps[1].load_world()
    counted = boxes_at(with_counts(log, 1, points), 1)
    assert len(counted) == len(boxes_at(log, 1)) > 3
    for box in counted:
        local = np.abs(transform(invert_rigid(box.world_from_object), points))
        assert box.num_points == sum(all(row <= box.size / 2) for row in local)
    assert max(box.num_points for box in counted) > 10
    assert boxes_at(with_counts(log, 1, None), 1)[0].num_points == -1


def test_queue_adds_every_image_to_its_stream():
    rng = seeded_rng()
    images = [rng.random((12 + 3 * (i > 12), 9, 3)) for i in range(21)]  # of two sizes
    batch_sizes = []

    def network(batch):
        batch_sizes.append(len(batch))
        return mean_colors(batch)

    streams, queue = {}, FeatureQueue(network)
    for i, image in enumerate(images):
        queue = queue.add(streams, i % 2, image)
    queue.flush()
    for key in (0, 1):
        expected = np.concatenate([mean_colors(image[None]) for image in images[key::2]])
        np.testing.assert_allclose(streams[key].sample.rows, expected, rtol=1e-6)
    assert batch_sizes == [8, 5, 8]


def test_long_streams_have_exact_moments_and_bounded_samples():
    rng = seeded_rng()
    a, b = rng.normal(size=(300, 5)), rng.normal(0.3, 1.2, (40, 5))
    long, short = (feature_sets.empty_stream(5, capacity=50) for _ in range(2))
    for part in np.array_split(a, 17):
        long = feature_sets.extend(long, part)
    short = feature_sets.extend(short, b)
    assert len(long.sample.rows) == 50 and short.moments is None
    distance = feature_sets.frechet_distance(long, short)
    assert distance[1:] == (300, 40)
    np.testing.assert_allclose(distance.value, fid.fid_of_features(a, b).value, rtol=1e-4)
    assert np.isfinite(feature_sets.kernel_distance(long, short).mean)


def test_joined_streams_equal_one_stream():
    rng = seeded_rng()
    parts = [rng.normal(size=(n, 4)) for n in (30, 45, 20)]
    whole = np.concatenate(parts)
    for cap in (20, 40, 1000):  # each part or only the first or none is sampled
        streams = [feature_sets.extend(feature_sets.empty_stream(4, cap), part) for part in parts]
        joined = feature_sets.join(feature_sets.join(streams[0], streams[1]), streams[2])
        value = feature_sets.frechet_distance(
            joined, feature_sets.extend(feature_sets.empty_stream(4), whole + 1)
        ).value
        np.testing.assert_allclose(value, fid.fid_of_features(whole, whole + 1).value, rtol=1e-4)
        assert joined.sample.num_offered == 95 and len(joined.sample.rows) == min(cap, 95)


@pytest.mark.slow
def test_over_logs_is_the_mean_of_the_logs(table, log):
    other = score_log(log, targets(log, (0.0,), 2), {"darker": darker}, Networks(inception=mean_colors))
    tables = {0: table, 1: other}
    values = summary.over_logs(tables, "darker", 0.0)
    summaries = [summary.summarize(b, "darker", 0.0) for b in tables.values()]
    assert values["psnr"].mean == pytest.approx(np.mean([e["psnr"].mean for e in summaries]))
    assert values["psnr"].count == 2 and np.isnan(values["psnr"].low) and "lane" not in values
    distances = summary.pooled_distances(list(tables.values()))["darker", 0.0]
    assert distances["fid_pooled"].count == 6


@pytest.mark.slow
def test_differences_pair_versions_on_the_same_log(table):
    values = summary.differences({0: table, 1: table, 2: table}, "true", "darker", 0.0)
    true, dark = (summary.summarize(table, name, 0.0) for name in ("true", "darker"))
    assert values["ssim"].mean == pytest.approx(dark["ssim"].mean - true["ssim"].mean)
    assert values["ssim"].low == pytest.approx(values["ssim"].high) and values["ssim"].count == 3
    assert "psnr" not in values  # that of the true views is infinite
    changes = report.difference_table({0: table, 1: table, 2: table})
    row = next(row for row in changes.rows if row[0].startswith("SSIM"))
    assert changes.columns == ("metric", "recorded path", "2 m left") and row[1].startswith("-0.")
