"""Layout of streets: determinism, free corridor, poses, lanes."""

import dataclasses

import jax
import numpy as np
import pytest

from ff_jax.data.synthetic import Capacities, StreetConfig, lane_map, make_street, rig_camera, vehicle_boxes
from ff_jax.data.synthetic.ground import street_to_world, world_to_street
from ff_jax.render.camera import invert_rigid
from tests.random_inputs import seeded_rng

SEEDS = [int(s) for s in np.random.default_rng(2024).integers(0, 10_000, 6)]


def _corners(box_set, k):
    signs = np.stack(np.meshgrid([-0.5, 0.5], [-0.5, 0.5], [-0.5, 0.5]), -1).reshape(-1, 3)
    pose = np.asarray(box_set.world_from_object[k])
    return (signs * np.asarray(box_set.size[k])) @ pose[:3, :3].T + pose[:3, 3]


def test_one_seed_is_one_street():
    first, again, other = make_street(3), make_street(3), make_street(4)
    assert all(
        (np.asarray(a) == np.asarray(b)).all() for a, b in zip(*map(jax.tree.leaves, (first, again)), strict=True)
    )
    assert jax.tree.structure(first) == jax.tree.structure(other)
    assert [a.shape for a in jax.tree.leaves(first)] == [a.shape for a in jax.tree.leaves(other)]
    assert (np.asarray(first.primitives.center) != np.asarray(other.primitives.center)).any()
    assert (np.asarray(first.sky.sun) != np.asarray(other.sky.sun)).any()


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_vehicles_keep_clear_of_the_drive(seed):
    config = StreetConfig()
    street = make_street(seed, config)
    for index in range(config.num_frames):
        ego_from_world = np.asarray(invert_rigid(street.world_from_ego[index]))
        box_set = vehicle_boxes(street, index)
        for k in np.flatnonzero(np.asarray(box_set.valid)):
            x, y, z = (_corners(box_set, k) @ ego_from_world[:3, :3].T + ego_from_world[:3, 3]).T
            assert abs(z.min()) < 0.01  # stands on the road
            if x.min() < 12.0 and x.max() > -5.0:
                assert y.min() > config.clear_left or y.max() < -config.clear_right


def test_nothing_moves_in_a_static_street():
    moving, still = make_street(5), make_street(5, StreetConfig(moving=False))
    travel = np.ptp(np.asarray(moving.vehicles.position), axis=1).max(-1)
    assert (travel[np.asarray(moving.vehicles.valid)] > 5).sum() == StreetConfig().num_moving
    assert np.ptp(np.asarray(still.vehicles.position), axis=1).max() == 0


def test_drive_starts_at_the_origin_and_keeps_its_pace():
    config = StreetConfig()
    pose = np.asarray(make_street(11, config).world_from_ego)
    np.testing.assert_allclose(pose[0], np.eye(4), atol=1e-6)
    steps = np.linalg.norm(np.diff(pose[:, :3, 3], axis=0), axis=-1)
    np.testing.assert_allclose(steps, config.speed / config.frame_rate, rtol=0.01)
    np.testing.assert_allclose(
        pose[:, :3, :3] @ pose[:, :3, :3].swapaxes(1, 2), np.tile(np.eye(3), (24, 1, 1)), atol=1e-5
    )


def test_a_left_shift_moves_the_camera_to_the_left():
    street = make_street(1)
    for name, side in (("front", 0.0), ("front_left", 1.0), ("front_right", -1.0)):
        pose = np.asarray(rig_camera(street, 0, name, 64, 48).world_from_camera)
        assert pose[2, 3] == pytest.approx(1.55, abs=1e-5)
        forward = pose[:3, 2]
        assert forward[0] > 0.5 and np.sign(np.round(forward[1], 6)) == side
        np.testing.assert_allclose(pose[:3, 1], [0, 0, -1], atol=1e-6)  # image y points down
        # The ego's left is the image's -x: for the front camera exactly.
        if name == "front":
            np.testing.assert_allclose(-pose[:3, 0], np.asarray(street.world_from_ego[0])[:3, 1], atol=1e-6)
    with pytest.raises(ValueError, match="rear"):
        rig_camera(street, 0, "rear", 64, 48)


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_lanes_lie_on_the_road(seed):
    street = make_street(seed)
    kinds = [kind for kind, _ in lane_map(street)]
    assert kinds.count("road_edge") == 2 and kinds.count("lane_line") >= 5
    curbs = np.asarray(street.road.curbs)
    for kind, line in lane_map(street):
        assert line.shape[1] == 3 and (line[:, 2] == 0).all()
        if kind == "crosswalk":
            continue
        s, n = world_to_street(street.road, *map(np.float32, line[:, :2].T))
        assert np.ptp(np.asarray(n)) < 2e-3
        assert (np.diff(np.asarray(s)) > 0.9).all()
        if kind == "lane_line":
            assert curbs[0] < n[0] < curbs[1]


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_the_crosswalk_outlines_the_paint_of_the_zebra(seed):
    street = make_street(seed)
    (outline,) = (line for kind, line in lane_map(street) if kind == "crosswalk")
    assert len(outline) == 5 and (outline[0] == outline[-1]).all()
    s, n = (np.asarray(x) for x in world_to_street(street.road, *map(np.float32, outline[:, :2].T)))
    np.testing.assert_allclose(np.sort(np.unique(s.round(2))), np.asarray(street.road.crossing), atol=0.02)
    curbs = np.asarray(street.road.curbs)
    assert 0.3 < n.min() - curbs[0] < 0.5 and 0.3 < curbs[1] - n.max() < 0.5


def test_street_coordinates_invert_the_placement():
    street, rng = make_street(2), seeded_rng()
    s, n = rng.uniform(-40, 150, 50), rng.uniform(-20, 30, 50)
    for curvature in (0.0, 1e-7, 0.0012, -0.0012):
        road = street.road.replace(curvature=np.float32(curvature))
        xy = street_to_world(curvature, s, n).astype(np.float32)
        got = world_to_street(road, xy[:, 0], xy[:, 1])
        np.testing.assert_allclose(got[0], s, atol=2e-3)
        np.testing.assert_allclose(got[1], n, atol=2e-3)


def test_too_small_capacities_are_refused():
    with pytest.raises(ValueError, match="raise Capacities"):
        make_street(0, StreetConfig(capacities=Capacities(boxes=10)))
    with pytest.raises(ValueError, match="num_frames"):
        make_street(0, dataclasses.replace(StreetConfig(), num_frames=0))
