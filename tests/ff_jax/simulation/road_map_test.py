"""The map and the mesh of the ground of a curved street whose lines are known, read by independent code."""

import dataclasses
import io
from xml.etree import ElementTree

import numpy as np
import pytest
from plyfile import PlyData

from ff_jax.data.scene_data import SparsePoints
from ff_jax.simulation.ground_mesh import ground_mesh, mesh_ply
from ff_jax.simulation.road_map import road_map
from ff_jax.simulation.road_path import road_path
from tests.ff_jax.simulation.curved_street import RADIUS, SLOPE, beside, curved_log


def cubics(parent, tag, at):
    """Evaluate the polynomials of an element, as OpenDRIVE defines them."""
    rows = [[float(e.attrib[k]) for k in ("s" if "s" in e.attrib else "sOffset", *"abcd")] for e in parent.findall(tag)]
    table = np.array(rows)
    s, a, b, c, d = table[np.searchsorted(table[:, 0], at, side="right") - 1].T
    return a + b * (at - s) + c * (at - s) ** 2 + d * (at - s) ** 3


def reference_line(road, at):
    rows = [[float(g.attrib[k]) for k in ("s", "x", "y", "hdg", "length")] for g in road.iter("geometry")]
    table = np.array(rows)
    s, x, y, heading, _ = table[np.searchsorted(table[:, 0], at, side="right") - 1].T
    np.testing.assert_allclose(table[:-1, 0] + table[:-1, 4], table[1:, 0], atol=1e-3)  # no gaps
    assert float(road.attrib["length"]) == pytest.approx(table[-1, 0] + table[-1, 4], abs=1e-3)
    return np.stack([x + (at - s) * np.cos(heading), y + (at - s) * np.sin(heading)], -1), heading


def test_lanes_lie_between_the_lines_and_the_edges_of_the_log(tmp_path):
    log = curved_log(tmp_path)
    path = road_path(log, np.eye(4))
    root = ElementTree.fromstring(road_map(path, log, np.eye(4), "street"))
    assert root.tag == "OpenDRIVE" and root.find(".//geoReference") is None
    (road,) = root.findall("road")
    at = np.arange(25.0, 70.0, 3.7)  # along the curve, which begins after 20 m
    points, headings = reference_line(road, at)
    angles = np.arctan2(points[:, 0], RADIUS - points[:, 1])
    np.testing.assert_allclose(points, beside(0.0, angles)[:, :2], atol=0.02)
    np.testing.assert_allclose(
        cubics(road.find("elevationProfile"), "elevation", at), SLOPE * RADIUS * angles, atol=0.01
    )
    widths = {int(lane.attrib["id"]): lane for lane in road.iter("lane")}
    assert sorted(widths) == [-3, -2, -1, 0, 1] and widths[-1].attrib["type"] == "driving"
    inner = cubics(road.find("lanes"), "laneOffset", at)
    np.testing.assert_allclose(inner, 1.6, atol=0.03)
    np.testing.assert_allclose(inner + cubics(widths[1], "width", at), 5.0, atol=0.03)
    for number, expected in ((-1, -1.9), (-2, -5.5), (-3, -8.9)):
        inner = inner - cubics(widths[number], "width", at)
        np.testing.assert_allclose(inner, expected, atol=0.05)
    sides = np.stack([-np.sin(headings), np.cos(headings)], -1)
    outer = points + inner[:, None] * sides
    np.testing.assert_allclose(np.hypot(outer[:, 0], RADIUS - outer[:, 1]), RADIUS + 8.9, atol=0.06)


def test_a_crosswalk_is_a_rectangle_across_the_road(tmp_path):
    log = curved_log(tmp_path)
    root = ElementTree.fromstring(road_map(road_path(log, np.eye(4)), log, np.eye(4), "street"))
    (crosswalk,) = root.iter("object")
    numbers = {key: float(crosswalk.attrib[key]) for key in ("s", "t", "hdg", "length", "width")}
    assert numbers["s"] == pytest.approx(20 + 60 * 0.425, abs=0.2) and numbers["t"] == pytest.approx(0, abs=0.05)
    assert numbers["length"] == pytest.approx(8, abs=0.05) and numbers["width"] == pytest.approx(60 * 0.05, abs=0.2)
    assert numbers["hdg"] == pytest.approx(np.pi / 2, abs=1e-4) and crosswalk.attrib["type"] == "crosswalk"


def test_the_mesh_is_the_ground_and_faces_upwards(tmp_path):
    rng = np.random.default_rng(0)
    angles, left = rng.uniform(0, 1, 4000), rng.uniform(-15, 15, 4000)
    curb = 0.2 * (left > 5)
    points = beside(0.0, angles)
    points[:, :2] += (left * np.stack([-np.sin(angles), np.cos(angles)])).T
    points[:, 2] += curb
    trees = points + np.array([0, 0, 3.0])  # are not the ground
    log = curved_log(tmp_path)
    log = dataclasses.replace(log, points=SparsePoints(np.concatenate([points, trees]).astype(np.float32)))
    ply = PlyData.read(io.BytesIO(mesh_ply(*ground_mesh(road_path(log, np.eye(4)), log, np.eye(4)))))
    vertices = np.stack([ply["vertex"][axis] for axis in "xyz"], -1).astype(float)
    corners = vertices[np.stack(ply["face"]["vertex_indices"])]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normals[:, 2] > 0).all() and len(corners) == 2 * 20 * (len(vertices) // 21 - 1)
    radius, angle = (
        np.hypot(vertices[:, 0], RADIUS - vertices[:, 1]),
        np.arctan2(vertices[:, 0], RADIUS - vertices[:, 1]),
    )
    above = vertices[:, 2] - SLOPE * RADIUS * angle
    inside = (angle > 0.1) & (angle < 0.9)
    road, walk = inside & (np.abs(radius - RADIUS) < 3), inside & (radius < RADIUS - 7) & (radius > RADIUS - 14)
    assert road.sum() > 50 and walk.sum() > 50
    np.testing.assert_allclose(above[road], 0, atol=0.1)
    np.testing.assert_allclose(np.median(above[walk]), 0.2, atol=0.05)


def test_without_lines_there_is_no_map_and_without_a_drive_no_road(tmp_path):
    log = curved_log(tmp_path)
    path = road_path(log, np.eye(4))
    assert road_map(path, dataclasses.replace(log, lanes=()), np.eye(4), "street") is None
    still = dataclasses.replace(log, world_from_ego=np.tile(np.eye(4), (61, 1, 1)))
    assert road_path(still, np.eye(4)) is None
