import json

import numpy as np
import pytest

from ff_jax.data.formats import av2_map
from tests.random_inputs import seeded_rng


def test_edges_between_abutting_areas_are_no_road_edges():
    rng = seeded_rng()
    length, width, height = rng.uniform(5, 30), rng.uniform(5, 10), rng.normal()

    def rectangle(x0, x1):
        corners = [[x0, 0], [x1, 0], [x1, width], [x0, width], [x0, 0]]
        return np.pad(np.array(corners, float), ((0, 0), (0, 1)), constant_values=height)

    edges = av2_map.road_edges([rectangle(0, length), rectangle(length, 2 * length)])
    total = sum(np.linalg.norm(np.diff(edge, axis=0), axis=1).sum() for edge in edges)
    assert total == pytest.approx(4 * length + 2 * width)
    (alone,) = av2_map.road_edges([rectangle(0, length)])
    assert np.array_equal(alone[0], alone[-1]) and np.linalg.norm(np.diff(alone, axis=0), axis=1).max() <= 1 + 1e-9


def line(*points):
    return [dict(zip("xyz", point, strict=True)) for point in points]


def test_a_line_that_two_lanes_share_is_read_once_and_unpainted_ones_are_not(tmp_path):
    a, b, c = line((0, 0, 0), (9, 0, 0)), line((0, 3, 0), (9, 3, 0)), line((0, 6, 0), (9, 6, 0))
    segments = [
        {"left_lane_boundary": a, "right_lane_boundary": b, "left_lane_mark_type": "NONE"},
        {"left_lane_boundary": c, "right_lane_boundary": b[::-1], "left_lane_mark_type": "SOLID_YELLOW"},
    ]
    content = {
        "lane_segments": {str(i): s | {"right_lane_mark_type": "DASHED_WHITE"} for i, s in enumerate(segments)},
        "drivable_areas": {},
        "pedestrian_crossings": {"0": {"edge1": a, "edge2": b}},
    }
    path = tmp_path / "log_map_archive_x.json"
    path.write_text(json.dumps(content))
    lanes = av2_map.load(path)
    assert [lane.kind for lane in lanes] == ["lane_line", "lane_line", "crosswalk"]
    assert sorted(lane.points[0, 1] for lane in lanes[:2]) == [3, 6]
    assert lanes[2].points[:, :2].tolist() == [[0, 0], [9, 0], [9, 3], [0, 3], [0, 0]]
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"is not an Argoverse 2 map \(KeyError\('drivable_areas'\)\)"):
        av2_map.load(path)
