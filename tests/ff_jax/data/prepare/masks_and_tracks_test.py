"""Masks and tracks that are made for a log, against streets that know the truth and against real images."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from experiments.studies.measures.poses import perturb_poses, pose_errors
from ff_jax.data.formats.cameras_json import load
from ff_jax.data.lazy_arrays import Source
from ff_jax.data.loader import load_mask
from ff_jax.data.prepare import ego_masks, sky_masks, smoothing
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.runtime.onnx_model import open_network
from tests.random_inputs import seeded_rng


@pytest.fixture(scope="module")
def street():
    return street_log(0, StreetConfig(num_frames=6, moving=True), 208, 128)


def overlap(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)


@pytest.mark.slow
def test_color_finds_the_sky_of_the_street(street):
    bare = replace(street, frames=tuple(replace(frame, masks={}) for frame in street.frames[:2]))
    result = sky_masks.with_sky(bare, sky_masks.color_segmenter(bare))
    for frame, truth in zip(result.frames, street.frames, strict=False):
        expected = load_mask(truth, "sky") > 0.5
        assert overlap(load_mask(frame, "sky") > 0.5, expected) > 0.7
    unchanged = sky_masks.with_sky(street, lambda *_: pytest.fail("a mask that exists is kept"))
    assert unchanged.frames[0].masks["sky"] is street.frames[0].masks["sky"]


@pytest.mark.slow
@pytest.mark.assets
def test_network_and_color_agree_on_a_real_road(assets):
    log = load(assets / "data" / "kitti_jam_color_lidar")
    log = replace(log, frames=tuple(replace(frame, masks={}) for frame in log.frames[:40:20]))
    network = sky_masks.network_segmenter(open_network(assets / "weights" / "sky_u2netp" / "sky_u2netp_384.onnx"))
    for frame in log.frames:
        image = frame.image.load()
        network_sky, color_sky = network(image, frame) > 0.5, sky_masks.color_segmenter(log)(image, frame) > 0.5
        assert 0.001 < network_sky.mean() < 0.5 and not network_sky[image.shape[0] * 2 // 3 :].any()
        assert (color_sky & ~network_sky).mean() < 0.1


def with_bonnet(street):
    """The street's frames with a dark bonnet painted over their lower part, with camera noise."""
    rng = seeded_rng()
    bonnet = np.zeros((128, 208), bool)
    bonnet[110:, 30:180] = True

    def paint(frame):
        image = frame.image.load().copy()
        image[bonnet] = np.linspace(0.1, 0.3, bonnet.sum())[:, None]
        noisy = (image + rng.normal(0, 0.004, image.shape)).astype(np.float32)
        return replace(frame, image=Source("painted", lambda: noisy))

    return replace(street, frames=tuple(map(paint, street.frames))), bonnet


@pytest.mark.slow
def test_the_own_vehicle_is_found_and_a_street_without_one_is_left_alone(street):
    log, bonnet = with_bonnet(street)
    result = ego_masks.with_ego_masks(log)
    assert overlap(load_mask(result.frames[2], "valid") < 0.5, bonnet) > 0.7
    assert (load_mask(ego_masks.with_ego_masks(street).frames[0], "valid") == 1).mean() > 0.97
    with pytest.raises(ValueError, match="1 frame"):
        ego_masks.ego_mask(list(street.frames[:1]))


def test_outlines_take_pixels_out_of_what_is_valid_at_any_size(street):
    rng = seeded_rng()
    left, right = np.sort(rng.uniform(0.1, 0.9, 2)).tolist()
    top = float(rng.uniform(0.5, 0.9))
    box = [[left, top], [right, top], [right, 1.0], [left, 1.0]]
    lower = lambda x, y: (x > left) & (x < right) & (y > top)
    with_mask = replace(
        street.frames[1], masks={"valid": Source("upper rows", lambda: np.eye(128, 208, dtype=np.float32))}
    )
    log = replace(street, frames=(street.frames[0], with_mask))
    result = ego_masks.with_outlines(log, {log.frames[0].camera: [box]})
    y, x = (np.mgrid[:128, :208] + 0.5) / np.array([128, 208])[:, None, None]
    near = np.minimum(abs(x - left), abs(x - right)) * 208 < 1
    near |= abs(y - top) * 128 < 1
    for frame, before in zip(result.frames, log.frames, strict=True):
        expected = (load_mask(before, "valid") > 0.5) & ~lower(x, y)
        assert ((load_mask(frame, "valid") > 0.5) == expected)[~near].all()
    small = ego_masks.polygon_mask([box], 52, 32)
    assert abs(small.mean() - (right - left) * (1 - top)) < 0.04
    for invalid, message in (
        ({"rear": [box]}, "no camera 'rear'"),
        ({log.frames[0].camera: [[[0.1, 0.2]]]}, "3 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            ego_masks.with_outlines(log, invalid)


def test_smoothing_takes_jitter_away_and_leaves_true_paths_alone(street):
    rng = seeded_rng()
    log = street_log(0, StreetConfig(num_frames=24, moving=True), 32, 16, lidar=None)

    def jittered(box):
        pose = box.world_from_object.copy()
        pose[:3, 3] += rng.normal(0, 0.1, 3)
        return replace(box, world_from_object=pose)

    moving = smoothing.moving_tracks(log)
    noisy = replace(log, boxes=tuple(jittered(b) if b.track_id in moving else b for b in log.boxes))

    def error(scene):
        pairs = [(a, b) for a, b in zip(scene.boxes, log.boxes, strict=True) if a.track_id in moving]
        return np.sqrt(np.mean([np.sum((a.world_from_object - b.world_from_object)[:3, 3] ** 2) for a, b in pairs]))

    assert error(smoothing.smooth_tracks(noisy)) < 0.65 * error(noisy)
    assert error(smoothing.smooth_tracks(log)) < 0.02
    with pytest.raises(ValueError, match="must be positive"):
        smoothing.smooth_tracks(log, jitter=0.0)


def test_smoothing_holds_roll_and_pitch_stiffer_than_yaw(street):
    rng = seeded_rng()
    log = street_log(0, StreetConfig(num_frames=24, moving=True), 32, 16, lidar=None)
    moving, degrees = smoothing.moving_tracks(log), 1.0

    def jittered(box):
        pose = box.world_from_object.copy()
        pose[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec(rng.normal(0, np.deg2rad(degrees), 3)).as_matrix()
        return replace(box, world_from_object=pose)

    noisy = replace(log, boxes=tuple(jittered(b) if b.track_id in moving else b for b in log.boxes))

    def restlessness(scene):
        """How far boxes turn about their axes from one time to the next, other than the true ones."""
        result = []
        for name in moving:
            pairs = [(a, b) for a, b in zip(scene.boxes, log.boxes, strict=True) if a.track_id == name]
            off = [a.world_from_object[:3, :3].T @ b.world_from_object[:3, :3] for a, b in pairs]
            result.append(np.diff(Rotation.from_matrix(off).as_rotvec(), axis=0))
        return np.sqrt(np.mean(np.concatenate(result) ** 2, 0))

    results = (smoothing.smooth_tracks(noisy, tilt=tilt) for tilt in (20.0, 0.5))
    before, loose, stiff = map(restlessness, (noisy, *results))
    assert (loose < 0.5 * before).all() and (stiff[:2] < 0.4 * loose[:2]).all()
    np.testing.assert_allclose(stiff[2], loose[2], rtol=0.02)


def test_smoothing_is_the_least_squares_path_on_uneven_times():
    rng = seeded_rng()
    times = np.cumsum(rng.uniform(0.05, 0.3, 12))
    line = np.stack([3 * times + 1, -times], -1)
    np.testing.assert_allclose(smoothing.smooth_values(line, times, 5.0), line, atol=1e-8)
    curve = line + rng.normal(0, 0.1, line.shape)
    np.testing.assert_allclose(smoothing.smooth_values(curve, times, 1e-9), curve, atol=1e-6)
    fit = np.stack([np.polyval(np.polyfit(times, column, 1), times) for column in curve.T], -1)
    np.testing.assert_allclose(smoothing.smooth_values(curve, times, 1e4), fit, atol=1e-3)


def test_what_four_values_show_of_their_noise_is_its_standard_error():
    rng = seeded_rng()
    times = np.cumsum(rng.uniform(0.05, 0.2, 400))
    path = np.stack([3 * times, 2 - times**2, 0.1 * times], -1)
    expected = float(rng.uniform(0.01, 0.5))
    result = smoothing.scatter(path + rng.normal(0, expected, path.shape), times)
    assert result == pytest.approx(expected, rel=0.3) and smoothing.scatter(path, times) < 1e-6 * times[-1] ** 2
    assert smoothing.scatter(path[:3], times[:3]) == 0


def test_smoothing_takes_independent_errors_of_cameras_away_and_leaves_true_paths_alone():
    rng = seeded_rng()
    log = street_log(0, StreetConfig(num_frames=40), 32, 16, lidar=None)
    same = smoothing.smooth_cameras(log)
    for frame, before in zip(same.frames, log.frames, strict=True):
        np.testing.assert_allclose(frame.world_from_camera, before.world_from_camera, atol=2e-3)
    truth = np.stack([f.world_from_camera for f in log.frames])
    for meters, degrees in ((0.035, 0.35), (0.25, 2.5)):
        shares = []
        for _ in range(8):  # one draw of a few slow errors says little
            invalid = perturb_poses(log, meters, degrees, rng)
            pair = [
                np.stack([f.world_from_camera for f in s.frames]) for s in (invalid, smoothing.smooth_cameras(invalid))
            ]
            before, after = (np.array(pose_errors(poses, truth)) for poses in pair)
            shares.append(after / before)
        assert (np.mean(shares, 0) < 0.75).all(), shares
    short = replace(log, frames=log.frames[:3])
    assert (smoothing.smooth_cameras(short).frames[1].world_from_camera == log.frames[1].world_from_camera).all()
    with pytest.raises(ValueError, match="positive"):
        smoothing.smooth_cameras(log, spin=0.0)
