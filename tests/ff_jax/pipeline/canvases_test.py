"""Boxes and lane map as images of a view."""

from dataclasses import replace

import numpy as np
import pytest

from ff_jax.data.boxes import corners, project_boxes
from ff_jax.data.scene_data import Box, Lane
from ff_jax.pipeline.canvases import BOX_CHANNELS, draw_boxes, draw_lanes
from tests.ff_jax.data import tiny
from tests.random_inputs import seeded_rng


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    frame = tiny.make_scene(tmp_path_factory.mktemp("tiny")).frames[0]
    K = frame.K * np.array([[8.0], [8], [1]])
    return replace(frame, K=K, width=8 * frame.width, height=8 * frame.height)


def box_at(x, y, category="vehicle"):
    return Box("1", category, 0, tiny.pose(x, y), np.array([4.0, 2, 1.5]))


def pixel_of(frame, point):
    local = np.linalg.inv(frame.world_from_camera) @ np.append(point, 1.0)
    x, y, z = frame.K @ local[:3]
    return int(y / z), int(x / z)


@pytest.mark.parametrize("category", [*BOX_CHANNELS, "other"])
def test_a_box_is_drawn_inside_its_hull_in_the_channel_of_its_category(frame, category):
    rng = seeded_rng()
    box = box_at(*rng.uniform([8, -1], [12, 1]), category)
    canvas = draw_boxes([box], frame)
    if category == "other":
        assert not canvas.any()
        return
    channel = BOX_CHANNELS[category]
    assert not np.delete(canvas, channel, -1).any()
    view = frame.K, frame.world_from_camera, frame.width, frame.height
    ((left, top, right, bottom),) = project_boxes(box.world_from_object[None], box.size[None], *view).hulls
    rows, columns = np.nonzero(canvas[..., channel])
    assert top - 1 <= rows.min() and rows.max() <= bottom + 1
    assert left - 1 <= columns.min() and columns.max() <= right + 1


def test_the_front_face_is_crossed_and_the_rear_face_is_not(frame):
    box = box_at(9.0, 2.5)  # to the left, so that the faces do not overlap in the image
    points = corners(box.world_from_object[None], box.size[None])[0]
    canvas = draw_boxes([box], frame)[..., 0]
    drawn = {}
    for name, face in (("front", points[:4]), ("rear", points[4:])):
        diagonals = face[0] - face[3], face[1] - face[2]
        points_on = [face.mean(0) + share * along for along in diagonals for share in (0.25, 0.4)]
        drawn[name] = [canvas[pixel_of(frame, point)] for point in points_on]
    assert all(drawn["front"]) and not all(drawn["rear"])


def test_a_box_behind_the_camera_is_not_drawn_and_one_across_its_plane_is_clipped(frame):
    assert not draw_boxes([box_at(-9.0, 0.0)], frame).any()
    assert draw_boxes([box_at(1.0, 1.0)], frame).any()


def test_the_kinds_of_the_map_have_their_channels_and_a_pixel_has_one_kind(frame):
    line = np.array([[4.0, 0, -1], [40, 0, -1]])
    across = np.array([[8.0, -1, -1], [8, 1, -1], [9, 1, -1], [9, -1, -1]])
    alone = [draw_lanes([lane], frame) for lane in (Lane("lane_line", line), Lane("crosswalk", across))]
    assert [np.flatnonzero(canvas.any((0, 1))).tolist() for canvas in alone] == [[2], [1]]
    both = draw_lanes([Lane("lane_line", line), Lane("crosswalk", across)], frame)
    np.testing.assert_array_equal(both[..., 1], alone[1][..., 1])
    np.testing.assert_array_equal(both[..., 2], alone[0][..., 2] * (1 - alone[1][..., 1]))
    assert both.sum(-1).max() == 1
    last_side = pixel_of(frame, [8.5, -1, -1])  # the outline is closed
    assert alone[1][last_side][1] == 1


def test_a_log_without_lanes_has_an_empty_canvas(frame):
    assert draw_lanes([], frame).shape == (frame.height, frame.width, 3) and not draw_lanes([], frame).any()
