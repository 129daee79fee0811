"""The unit of length of a log from what was measured beside it."""

from dataclasses import replace

import numpy as np
import pytest

from ff_jax.data.lidar_scale import find_sweeps, fit_lidar
from ff_jax.data.measured_scale import measured_scale
from ff_jax.data.scene_data import SceneData, SparsePoints, transform
from ff_jax.data.units import MeasuredScale, in_meters, parse_scale, scaled_units
from tests.ff_jax.data.gps_test import degrees_of, frames_of, write_image
from tests.random_inputs import seeded_rng

UNIT = 0.23  # meters


def make_log(tmp_path, way, **options):
    """Make a log of a way (meters) in units; its images have the positions in their tags."""
    rng = seeded_rng()
    rows = zip(*degrees_of(way + rng.normal(0, options.get("noise", 0.0), way.shape)), strict=True)
    frames = frames_of([write_image(tmp_path / f"{i}.jpg", row) for i, row in enumerate(rows)])
    poses = np.tile(np.eye(4), (len(way), 1, 1))
    poses[:, :2, 3] = way / UNIT
    for frame, pose in zip(frames, poses, strict=True):
        frame.world_from_camera[:3, 3] = pose[:3, 3]
    times = 0.1 * np.arange(len(way))
    return SceneData("log", "a test", "none", times, poses, tuple(frames))


def drive(count, length):
    s = np.linspace(0, length, count)
    return np.stack([s, 0.1 * s * np.sin(s / 40)], -1)


def test_satellites_give_the_scale_with_wrong_ones_among_them(tmp_path, caplog):
    log = make_log(tmp_path, drive(30, 180.0), noise=1.0)
    for number in (3, 11, 19, 20):
        write_image(tmp_path / f"{number}.jpg", (-33.01, 151.02))
    write_image(tmp_path / "7.jpg")
    scaled = in_meters(log, parse_scale("gps"), tmp_path)
    assert scaled.world_from_files[0, 0] == pytest.approx(UNIT, rel=0.05) and scaled.has_meters
    assert "m (positions of 2" in scaled.source and "of 30 images from EXIF tags, residual" in caplog.text
    way = np.linalg.norm(scaled.world_from_ego[-1, :3, 3] - scaled.world_from_ego[0, :3, 3])
    assert way == pytest.approx(np.linalg.norm(drive(2, 180.0)[1]), rel=0.05)


@pytest.mark.parametrize(
    ("length", "noise", "text"),
    [(8.0, 0.0, "on a way of 8"), (40.0, 15.0, "does not determine"), (0.0, 2.0, "do not move")],
)
def test_too_short_a_way_is_refused(tmp_path, length, noise, text):
    log = make_log(tmp_path, drive(20, length), noise=noise)
    with pytest.raises(ValueError, match=rf"{text}.*give \?scale= as a number"):
        measured_scale(log, "gps", None)


def test_images_without_positions_are_counted(tmp_path):
    log = make_log(tmp_path, drive(9, 100.0))
    for number in range(2, 9):
        write_image(tmp_path / f"{number}.jpg")
    with pytest.raises(ValueError, match="2 of 9 images have positions"):
        measured_scale(log, "gps", None)


def test_positions_in_meters_are_a_table(tmp_path):
    way = drive(12, 9.0)
    log = make_log(tmp_path, way)
    (tmp_path / "poses.txt").write_text("".join(f"{i}.jpg {x} {y} 1.5\n" for i, (x, y) in enumerate(way)))
    scaled = in_meters(log, parse_scale("positions:poses.txt"), tmp_path)
    assert scaled.world_from_files[0, 0] == pytest.approx(UNIT, rel=1e-3)
    with pytest.raises(ValueError, match=r"no .*none\.txt"):
        in_meters(log, MeasuredScale("positions", "none.txt"), tmp_path)
    with pytest.raises(ValueError, match=r"no .*lidar; name the file by \?scale=lidar:FILE"):
        in_meters(log, parse_scale("lidar"), tmp_path)
    for text in ("positions", "gpss", "lidars:x"):
        with pytest.raises(ValueError, match=text):
            parse_scale(text)


def street(rng, count):
    """Sample surfaces along a street: the road, walls with gaps on both sides, poles (meters)."""
    road = np.stack([rng.uniform(-20, 60, count), rng.uniform(-6, 6, count), np.zeros(count)], -1)
    x = rng.uniform(-20, 60, count)
    walls = np.stack(
        [x, np.where(rng.random(count) < 0.5, -7, 8) + np.where(x % 17 < 6, 3, 0), rng.uniform(0, 6, count)], -1
    )
    poles = np.stack(
        [rng.choice(np.arange(-15, 60, 7.3), count), rng.choice([-5, 5.5], count), rng.uniform(0, 5, count)], -1
    )
    return np.concatenate([road, walls, poles])


@pytest.mark.slow
def test_lidar_gives_the_scale_from_any_unit(tmp_path):
    rng = seeded_rng()
    steps, turned = 3, rng.random() < 0.5
    poses = np.tile(np.eye(4), (steps, 1, 1))
    poses[:, 0, 3], poses[:, 2, 3] = 2.0 * np.arange(steps), 1.4  # the ego frame is at the camera
    surface = street(rng, 2000)
    chosen = rng.permutation(len(surface))[:1200]
    points = SparsePoints(surface[chosen] + rng.normal(0, 0.03, (1200, 3)))
    frames = frames_of([write_image(tmp_path / f"{i}.jpg") for i in range(steps)])
    log = SceneData("log", "a test", "none", 0.1 * np.arange(steps), poses, tuple(frames), points=points)
    (tmp_path / "lidar").mkdir()
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]) if turned else np.eye(3)
    for step in range(steps):  # the LiDAR is above and behind the camera
        sweep = (surface - poses[step, :3, 3] - (-0.4, 0.05, 0.3)) @ turn.T
        near = sweep[np.linalg.norm(sweep, axis=1) < 50]
        values = np.column_stack([near, np.ones(len(near))]).astype("<f4")
        if turned:
            (tmp_path / "lidar" / f"{step}.bin").write_bytes(values.tobytes())
        else:
            np.savez(tmp_path / "lidar" / f"{step}.npz", xyz=values[:, :3])
    sweeps = find_sweeps(tmp_path / "lidar", log)
    assert list(sweeps) == list(range(steps))
    unit = np.exp(rng.uniform(-2.5, 2.5))
    units = scaled_units(replace(log, world_from_files=np.eye(4)), 1 / unit)
    assert fit_lidar(units, sweeps).scale == pytest.approx(unit, rel=0.03)
    scaled = in_meters(units, parse_scale("lidar"), tmp_path)
    np.testing.assert_allclose(scaled.points.xyz, log.points.xyz, rtol=0.03)
    with pytest.raises(ValueError, match="does not determine the unit of length"):
        other = replace(units, points=SparsePoints(rng.uniform((5, -40, -40), (85, 40, 40), (2000, 3))))
        fit_lidar(other, sweeps)
    with pytest.raises(ValueError, match="too few"):
        fit_lidar(replace(units, points=None), sweeps)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.npz").write_bytes((tmp_path / "lidar" / f"0.{'bin' if turned else 'npz'}").read_bytes())
    with pytest.raises(ValueError, match="none of its 1 sweeps has the name of an image"):
        find_sweeps(tmp_path / "other", log)
    assert transform(np.eye(4), scaled.points.xyz).shape == (1200, 3)
