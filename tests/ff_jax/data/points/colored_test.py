"""Colored LiDAR points drawn into views."""

from dataclasses import replace

import numpy as np
import pytest

from ff_jax.data.loader import load_image
from ff_jax.data.points.colored import TERRITORY, ColoredPoints, ColoredSweep, colored_sweep, draw_sweeps
from ff_jax.data.points.visibility import inside_box, project_points
from ff_jax.data.scene_data import Box, transform
from tests.ff_jax.data import tiny
from tests.random_inputs import seeded_rng


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tiny.make_scene(tmp_path_factory.mktemp("tiny"))


def box_at(x, track_id="7"):
    return Box(track_id, "vehicle", 0, tiny.pose(x), np.array([4.0, 2, 1.5]))


def points(xyz, color):
    xyz = np.atleast_2d(np.asarray(xyz, float))
    return ColoredPoints(xyz, np.broadcast_to(np.float32(color), xyz.shape).copy())


EMPTY = points(np.zeros((0, 3)), (0, 0, 0))


def test_points_have_the_colors_of_their_own_images_and_are_split_by_the_boxes(log):
    sweep = colored_sweep(log, 1)
    (box,) = (box for box in log.boxes if box.time_index == 1)
    world = log.sweeps[1].load_world().astype(float)
    frames = [frame for frame in log.frames if frame.time_index == 1]
    is_seen = np.any([project_points(frame, world)[2] for frame in frames], 0)
    assert len(sweep.static.xyz) + len(sweep.objects["7"].xyz) == is_seen.sum() > 5
    assert not inside_box(box, sweep.static.xyz).any()
    moved_back = transform(box.world_from_object, sweep.objects["7"].xyz)
    assert inside_box(box, moved_back, 0.06).all()
    colors = np.concatenate([load_image(frame).reshape(-1, 3) for frame in frames])
    assert all((np.abs(colors - color).max(1) < 1e-6).any() for color in sweep.static.rgb)


def test_a_time_step_without_a_training_image_has_no_colored_points(log):
    hidden = replace(log, frames=tuple(replace(f, split="test" if f.time_index == 1 else "train") for f in log.frames))
    assert len(colored_sweep(hidden, 1).static.xyz) == 0 < len(colored_sweep(hidden, 0).static.xyz)


def test_an_object_moves_with_its_box(log):
    frame, rng = log.frames[0], seeded_rng()
    local = rng.uniform(-0.5, 0.5, (40, 3)) * [4.0, 2, 1.5]
    sweep = ColoredSweep(EMPTY, {"7": points(local, (1, 0, 0))})
    drawn = {x: draw_sweeps([sweep], [box_at(x)], frame) for x in (8, 16)}
    for x, canvas in drawn.items():
        pixels, _, inside = project_points(frame, local + np.array([x, 0, 0]))
        expected = np.zeros((frame.height, frame.width), bool)
        expected[tuple(pixels[inside].astype(int).T[::-1])] = True
        np.testing.assert_array_equal(canvas[..., 3] > 0, expected)
    assert (drawn[8][..., 3] > 0).sum() > (drawn[16][..., 3] > 0).sum()
    assert not draw_sweeps([sweep], [], frame).any()  # no box at the time of the view


def test_a_point_seen_through_an_object_is_closed_by_its_territory(log):
    """The object is one point; the background behind it is dense."""
    frame = log.frames[0]
    side, up = (axis.ravel() for axis in np.meshgrid(np.linspace(-12, 12, 121), np.linspace(-8, 8, 81)))
    wall = points(np.stack([np.full(side.shape, 20.0), side, up], -1), (0, 0, 1))
    car = {"7": points((0, 0.01, 0.01), (1, 0, 0))}
    canvas = draw_sweeps([ColoredSweep(wall, car)], [box_at(8)], frame)
    (row,), (column,) = np.nonzero(canvas[..., 0])
    y, x = np.mgrid[: frame.height, : frame.width]
    closed = (np.abs(y - row) <= TERRITORY) & (np.abs(x - column) <= TERRITORY)
    assert canvas[row, column].tolist() == [1, 0, 0, 1]
    closed[row, column] = False
    assert not canvas[closed].any()
    closed[row, column] = True
    assert (canvas[..., 2] > 0)[~closed].all()  # elsewhere the wall is complete


def test_near_objects_hide_far_ones_and_near_points_hide_far_points(log):
    frame = log.frames[0]
    boxes = [box_at(14, "far"), box_at(7, "near")]
    objects = {"near": points((0, 0, 0), (0, 1, 0)), "far": points((0, 0, 0), (1, 0, 0))}
    canvas = draw_sweeps([ColoredSweep(EMPTY, objects)], boxes, frame)
    assert canvas[..., 1].sum() == 1 and not canvas[..., 0].any()
    both = points(np.array([[30.0, 0, 0], [6, 0, 0], [18, 0, 0]]), 0.0)
    both.rgb[:] = np.eye(3)
    canvas = draw_sweeps([ColoredSweep(both, {})], [], frame)
    assert canvas[canvas[..., 3] > 0].tolist() == [[0, 1, 0, 1]]


def test_sweeps_of_a_window_add_up(log):
    frame = log.frames[2]
    boxes = [box for box in log.boxes if box.time_index == 1]
    sweeps = [colored_sweep(log, index) for index in range(3)]
    counts = [(draw_sweeps(part, boxes, frame)[..., 3] > 0).sum() for part in (sweeps[1:2], sweeps)]
    assert counts[1] > counts[0] > 0
