"""NTL-IoU: counts and means against naive forms, and TwinLiteNet on real and built-in frames."""

import numpy as np
import pytest

from ff_jax.data.formats import cameras_json
from ff_jax.data.loader import load_image
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.metrics import ntl_iou
from ff_jax.metrics.lane_raster import rasterize_lanes
from tests.random_inputs import seeded_rng

SIZE = (360, 640)


@pytest.fixture
def rng():
    return seeded_rng()


@pytest.fixture(scope="module")
def network(assets):
    pytest.importorskip("onnxruntime")
    return ntl_iou.load_twinlitenet(assets / "weights" / "twinlitenet" / "twinlitenet_360x640.onnx")


def iou(a, b):
    return 100 * (a & b).sum() / (a | b).sum()


def test_scores_equal_naive_means(rng):
    pairs = [(rng.random(SIZE) < p, rng.random(SIZE) < q) for p, q in rng.uniform(0.02, 0.3, (4, 2))]
    found = ntl_iou.aggregate(ntl_iou.score_frame(*pair) for pair in pairs)
    lane, background = [iou(a, b) for a, b in pairs], [iou(~a, ~b) for a, b in pairs]
    pooled = iou(*(np.concatenate(masks) for masks in zip(*pairs, strict=True)))
    expected = (np.mean([lane, background]), np.mean(lane), np.mean(background), pooled, 4)
    np.testing.assert_allclose(found, expected)


def test_scores_do_not_care_which_mask_is_which_and_a_perfect_one_is_100(rng):
    a, b = rng.random((2, *SIZE)) < 0.1
    assert ntl_iou.score_frame(a, b) == ntl_iou.score_frame(b, a)
    assert ntl_iou.aggregate([ntl_iou.score_frame(a, a)]) == (100, 100, 100, 100, 1)


def test_a_blank_prediction_gets_nearly_half_of_the_published_score(rng):
    truth = rng.random(SIZE) < 0.06
    blank = ntl_iou.aggregate([ntl_iou.score_frame(np.zeros(SIZE, bool), truth)])
    assert blank.lane == blank.lane_pooled == 0
    assert blank.published == pytest.approx(50 * (1 - truth.mean())) and blank.published > 46


def test_frames_without_any_lane(rng):
    empty, some = np.zeros(SIZE, bool), rng.random(SIZE) < 0.1
    nothing = ntl_iou.aggregate([ntl_iou.score_frame(empty, empty)])
    assert nothing.published == 50 and nothing.background == 100 and np.isnan([nothing.lane, nothing.lane_pooled]).all()
    both = ntl_iou.aggregate([ntl_iou.score_frame(empty, empty), ntl_iou.score_frame(some, some)])
    assert both == (75, 100, 100, 100, 2)
    with pytest.raises(ValueError, match="at least one frame"):
        ntl_iou.aggregate([])


def test_overlay_colors(rng):
    truth, predicted = np.zeros((2, *SIZE), bool)
    truth[:200], predicted[100:300] = True, True
    image = rng.random((50, 70, 3))
    picture = ntl_iou.draw(image, predicted, truth)
    red, green, blue = picture.reshape(360, -1, 3).mean(1).T
    assert (green[:100] > red[:100] + 0.5).all() and (red[200:300] > green[200:300] + 0.5).all()
    assert (np.minimum(red, green)[100:200] > blue[100:200] + 0.5).all()
    assert picture.min() >= 0 and picture.max() <= 1


@pytest.mark.assets
def test_other_networks_are_refused(assets):
    pytest.importorskip("onnxruntime")
    with pytest.raises(ValueError, match="output 'll'"):
        ntl_iou.load_twinlitenet(next((assets / "weights" / "yolox_nano_coco").glob("*.onnx")))


@pytest.mark.assets
def test_lanes_equal_those_of_an_independent_preprocessing(assets, network):
    torch = pytest.importorskip("torch")
    import onnxruntime

    frame = cameras_json.load(assets / "data" / "kitti02_stereo_color").frames[0]
    image = load_image(frame)
    pixels = torch.nn.functional.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None], SIZE, mode="bilinear", align_corners=False
    ).numpy()
    path = assets / "weights" / "twinlitenet" / "twinlitenet_360x640.onnx"
    logits = onnxruntime.InferenceSession(str(path)).run(["ll"], {"images": pixels})[0][0]
    assert (network(image) ^ (logits.argmax(0) == 1)).sum() <= 2


@pytest.mark.assets
def test_lanes_of_real_frames_lie_on_the_road(assets, network):
    frames = cameras_json.load(assets / "data" / "kitti02_stereo_color").frames
    for frame in frames[::13]:
        lanes = network(load_image(frame))
        assert 0.005 < lanes.mean() < 0.03 and not lanes[:120].any()


@pytest.mark.slow
@pytest.mark.assets
def test_built_in_street_scores_high_and_blur_or_wrong_lanes_lower(network):
    log = street_log(0, StreetConfig(num_frames=1, samples=1), 480, 320, lidar=None)
    frame = log.frames[0]
    image = load_image(frame)
    truth = rasterize_lanes(log.lanes, frame.K, frame.world_from_camera, 480, 320)
    score = lambda image, truth: ntl_iou.aggregate([ntl_iou.score_frame(network(image), truth)])
    right = score(image, truth)
    aside = frame.world_from_camera.copy()
    aside[1, 3] += 0.5
    wrong = score(image, rasterize_lanes(log.lanes, frame.K, aside, 480, 320))
    blank = score(np.full_like(image, 0.5), truth)
    assert right.lane > 30 and right.lane > 2 * wrong.lane and blank.lane < 1
    assert right.published > wrong.published and right.published > blank.published + 10
