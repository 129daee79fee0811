"""Measured points as depth images of moved views."""

import dataclasses

import numpy as np
import pytest

from ff_jax.data.points.surface import (
    MAX_DEPTH,
    SurfacePoints,
    _rows_near_image,
    make_surface,
    surface_depth,
    surface_points,
)
from ff_jax.data.points.visibility import project_points
from ff_jax.data.recording import Recording, train_frames
from ff_jax.data.scene_data import SparsePoints
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.train.batches import shifted_frame
from tests.ff_jax.data.tiny import make_scene
from tests.random_inputs import seeded_rng


@pytest.fixture(scope="module")
def recording():
    log = street_log(3, StreetConfig(num_frames=4, moving=True), 104, 64, ("front",))
    return Recording(log, train_frames(log))


def far(frame):
    return np.full((frame.height, frame.width), 1e4)


@pytest.mark.slow
def test_accumulated_sweeps_cover_a_moved_view_more_than_one_sweep_and_keep_occlusions(recording):
    frame = shifted_frame(recording.frames[1], recording.log, 2.0)
    points = surface_points(recording, seeded_rng())
    depth = surface_depth(points, recording, frame, far(frame))
    one = dataclasses.replace(recording, log=dataclasses.replace(recording.log, sweeps=recording.log.sweeps[1:2]))
    single = surface_depth(surface_points(one, seeded_rng()), one, frame, far(frame))
    assert (depth > 0).sum() > 1.5 * (single > 0).sum() > 100
    # The nearest points of a column of pixels are the road in front of the car, the farthest are buildings.
    assert depth[depth > 0].min() > 0.5 and depth.max() < 80


def test_the_points_near_an_image_are_all_that_are_in_it(tmp_path):
    rng, pose = seeded_rng(), np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.linalg.qr(rng.normal(size=(3, 3)))[0], rng.normal(0, 5, 3)
    K = np.array([[50.0, 0, 25], [0, 50, 15], [0, 0, 1]])
    frame = make_scene(tmp_path).frames[0]
    frame = dataclasses.replace(frame, K=K, world_from_camera=pose, width=52, height=32)
    edges = [(u, v) for u in (0.0, 26.0, 51.99) for v in (0.0, 16.0, 31.99)]
    border = np.array([[(u - 25) / 50 * z, (v - 15) / 50 * z, z] for u, v in edges for z in (0.6, 30, 79.9)])
    xyz = np.concatenate([border, rng.normal(0, 40, (2000, 3))]) @ pose[:3, :3].T + pose[:3, 3]
    _, depth, inside = project_points(frame, xyz)
    near = _rows_near_image(frame, xyz)
    assert set(np.flatnonzero(inside & (depth < MAX_DEPTH))) <= set(near) and len(near) < 0.3 * len(xyz)
    assert set(range(len(border))) <= set(near)


@pytest.mark.slow
def test_points_behind_the_rendered_surface_are_hidden(recording):
    frame = recording.frames[0]
    points = surface_points(recording, seeded_rng())
    depth = surface_depth(points, recording, frame, far(frame))
    wall = surface_depth(points, recording, frame, np.full(depth.shape, 10.0))
    np.testing.assert_array_equal(wall, np.where(depth > 11.5, 0, depth))


@pytest.mark.slow
def test_structure_from_motion_points_serve_a_log_without_sweeps(recording):
    log, frame = recording.log, recording.frames[0]
    place = frame.world_from_camera @ np.array([0.0, 0, 12, 1])
    xyz = place[:3] + seeded_rng().uniform(-0.01, 0.01, (5, 3))
    sparse = Recording(dataclasses.replace(log, sweeps=(), points=SparsePoints(xyz)), recording.frames)
    depth = surface_depth(surface_points(sparse, seeded_rng()), sparse, frame, far(frame))
    assert (depth > 0).sum() <= 5 and depth.max() == pytest.approx(12, abs=0.05)
    nothing = Recording(dataclasses.replace(log, sweeps=(), points=None), recording.frames)
    assert surface_points(nothing, seeded_rng()) is None


@pytest.mark.slow
def test_points_of_a_moving_object_are_placed_by_its_box(recording):
    frame = recording.frames[0]
    boxes = [box for box in recording.log.boxes if box.time_index == frame.time_index]
    projected = [project_points(frame, box.world_from_object[None, :3, 3]) for box in boxes]
    visible = [box for box, (_, z, inside) in zip(boxes, projected, strict=True) if inside.all() and z < MAX_DEPTH]
    assert visible
    for box in visible:
        points = SurfacePoints(np.zeros((0, 3)), np.zeros(0), {box.track_id: np.zeros((1, 3))})
        center = np.linalg.inv(frame.world_from_camera) @ box.world_from_object[:, 3]
        depth = surface_depth(points, recording, frame, far(frame))
        np.testing.assert_allclose(depth[depth > 0], center[2:3], rtol=1e-5)


def test_a_surface_needs_more_than_three_points():
    assert make_surface(np.ones((3, 3)), seeded_rng()) is None
