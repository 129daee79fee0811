"""Bad reconstructions of a log."""

import dataclasses

import numpy as np

from ff_jax.data.synthetic import StreetConfig
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.degraded_logs import degraded_logs, disturbed, reconstruction_of
from tests.ff_jax.pipeline.street_pairs_test import fake_street_log


def log_of(*cameras):
    log = fake_street_log(0, StreetConfig(num_frames=9), 4, 3, ())
    frames = (dataclasses.replace(frame, camera=name) for name in cameras for frame in log.frames)
    return dataclasses.replace(log, frames=tuple(frames))


def test_time_steps_and_cameras_are_left_out_and_never_rendered_from_what_was_recorded():
    ways = {way.name: way for way in degraded_logs(log_of("front", "left"), 100)}
    assert list(ways) == ["every-3", "without-front", "without-left"]
    for way in ways.values():
        places = [{(f.camera, f.time_index) for f in frames} for frames in (way.recorded, way.rendered)]
        assert places[0].isdisjoint(places[1]) and len(places[0] | places[1]) == 18
    assert {f.time_index for f in ways["every-3"].recorded} == {0, 3, 6}
    assert {f.camera for f in ways["without-left"].rendered} == {"left"}
    assert [way.gaussians for way in ways.values()] == [1.0, 0.25, 1.0] and ways["without-left"].is_disturbed


def test_views_of_one_camera_are_thinned_evenly():
    ways = degraded_logs(log_of("front"), 2)
    assert [way.name for way in ways] == ["every-2", "every-4"]
    assert [f.time_index for f in ways[0].rendered] == [1, 7]


def test_few_gaussians_and_disturbed_poses():
    config = FuseConfig()
    way = degraded_logs(log_of("front"), 2)[1]
    settings, frames = reconstruction_of(dataclasses.replace(way, is_disturbed=True), config, 3)
    assert settings.recon.budget == config.recon.budget // 4
    moves = [f.world_from_camera[:3, 3] - g.world_from_camera[:3, 3] for f, g in zip(frames, way.recorded, strict=True)]
    assert 1e-3 < np.abs(moves).max() < 0.1 and len({tuple(move) for move in moves}) == len(moves)
    again = disturbed(way.recorded, 3)
    np.testing.assert_array_equal(again[0].world_from_camera, frames[0].world_from_camera)
    np.testing.assert_allclose(np.linalg.det(frames[0].world_from_camera[:3, :3]), 1.0)
