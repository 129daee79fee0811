"""Layout of streets: determinism, free corridor, poses, lanes."""

import dataclasses

import jax
import numpy as np
import pytest

from ff_jax.data.synthetic import Capacities, WorldConfig, boxes, lanes, make_world, rig_camera
from ff_jax.data.synthetic.ground import place, street_coordinates
from ff_jax.render.camera import invert_rigid

SEEDS = [int(s) for s in np.random.default_rng(2024).integers(0, 10_000, 6)]


def _corners(box_set, k):
    signs = np.stack(np.meshgrid([-0.5, 0.5], [-0.5, 0.5], [-0.5, 0.5]), -1).reshape(-1, 3)
    pose = np.asarray(box_set.world_from_object[k])
    return (signs * np.asarray(box_set.size[k])) @ pose[:3, :3].T + pose[:3, 3]


def test_one_seed_is_one_street():
    first, again, other = make_world(3), make_world(3), make_world(4)
    assert all(
        (np.asarray(a) == np.asarray(b)).all() for a, b in zip(*map(jax.tree.leaves, (first, again)), strict=True)
    )
    assert jax.tree.structure(first) == jax.tree.structure(other)
    assert [a.shape for a in jax.tree.leaves(first)] == [a.shape for a in jax.tree.leaves(other)]
    assert (np.asarray(first.primitives.center) != np.asarray(other.primitives.center)).any()
    assert (np.asarray(first.sky.sun) != np.asarray(other.sky.sun)).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_vehicles_keep_clear_of_the_drive(seed):
    config = WorldConfig()
    world = make_world(seed, config)
    for index in range(config.num_frames):
        ego_from_world = np.asarray(invert_rigid(world.world_from_ego[index]))
        box_set = boxes(world, index)
        for k in np.flatnonzero(np.asarray(box_set.valid)):
            x, y, z = (_corners(box_set, k) @ ego_from_world[:3, :3].T + ego_from_world[:3, 3]).T
            assert abs(z.min()) < 0.01  # stands on the road
            if x.min() < 12.0 and x.max() > -5.0:
                assert y.min() > config.clear_left or y.max() < -config.clear_right


def test_nothing_moves_in_a_static_street():
    moving, still = make_world(5), make_world(5, WorldConfig(moving=False))
    travel = np.ptp(np.asarray(moving.vehicles.position), axis=1).max(-1)
    assert (travel[np.asarray(moving.vehicles.valid)] > 5).sum() == WorldConfig().num_moving
    assert np.ptp(np.asarray(still.vehicles.position), axis=1).max() == 0


def test_drive_starts_at_the_origin_and_keeps_its_pace():
    config = WorldConfig()
    pose = np.asarray(make_world(11, config).world_from_ego)
    np.testing.assert_allclose(pose[0], np.eye(4), atol=1e-6)
    steps = np.linalg.norm(np.diff(pose[:, :3, 3], axis=0), axis=-1)
    np.testing.assert_allclose(steps, config.speed / config.frame_rate, rtol=0.01)
    np.testing.assert_allclose(
        pose[:, :3, :3] @ pose[:, :3, :3].swapaxes(1, 2), np.tile(np.eye(3), (24, 1, 1)), atol=1e-5
    )


def test_a_left_shift_moves_the_camera_to_the_left():
    world = make_world(1)
    for name, side in (("front", 0.0), ("front_left", 1.0), ("front_right", -1.0)):
        pose = np.asarray(rig_camera(world, 0, name, 64, 48).world_from_camera)
        assert pose[2, 3] == pytest.approx(1.55, abs=1e-5)
        forward = pose[:3, 2]
        assert forward[0] > 0.5 and np.sign(np.round(forward[1], 6)) == side
        np.testing.assert_allclose(pose[:3, 1], [0, 0, -1], atol=1e-6)  # image y points down
        # The ego's left is the image's -x: for the front camera exactly.
        if name == "front":
            np.testing.assert_allclose(-pose[:3, 0], np.asarray(world.world_from_ego[0])[:3, 1], atol=1e-6)
    with pytest.raises(ValueError, match="rear"):
        rig_camera(world, 0, "rear", 64, 48)


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_lanes_lie_on_the_road(seed):
    world = make_world(seed)
    kinds = [kind for kind, _ in lanes(world)]
    assert kinds.count("road_edge") == 2 and kinds.count("lane_line") >= 5
    kerbs = np.asarray(world.street.kerbs)
    for kind, line in lanes(world):
        assert line.shape[1] == 3 and (line[:, 2] == 0).all()
        if kind == "crosswalk":
            continue
        s, n = street_coordinates(world.street, *map(np.float32, line[:, :2].T))
        assert np.ptp(np.asarray(n)) < 2e-3
        assert (np.diff(np.asarray(s)) > 0.9).all()
        if kind == "lane_line":
            assert kerbs[0] < n[0] < kerbs[1]


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_the_crosswalk_outlines_the_paint_of_the_zebra(seed):
    world = make_world(seed)
    (outline,) = (line for kind, line in lanes(world) if kind == "crosswalk")
    assert len(outline) == 5 and (outline[0] == outline[-1]).all()
    s, n = (np.asarray(x) for x in street_coordinates(world.street, *map(np.float32, outline[:, :2].T)))
    np.testing.assert_allclose(np.sort(np.unique(s.round(2))), np.asarray(world.street.crossing), atol=0.02)
    kerbs = np.asarray(world.street.kerbs)
    assert 0.3 < n.min() - kerbs[0] < 0.5 and 0.3 < kerbs[1] - n.max() < 0.5


def test_street_coordinates_invert_the_placement():
    world, rng = make_world(2), np.random.default_rng()
    s, n = rng.uniform(-40, 150, 50), rng.uniform(-20, 30, 50)
    for curvature in (0.0, 1e-7, 0.0012, -0.0012):
        street = world.street.replace(curvature=np.float32(curvature))
        xy = place(curvature, s, n).astype(np.float32)
        got = street_coordinates(street, xy[:, 0], xy[:, 1])
        np.testing.assert_allclose(got[0], s, atol=2e-3)
        np.testing.assert_allclose(got[1], n, atol=2e-3)


def test_too_small_capacities_are_refused():
    with pytest.raises(ValueError, match="raise Capacities"):
        make_world(0, WorldConfig(capacities=Capacities(boxes=10)))
    with pytest.raises(ValueError, match="num_frames"):
        make_world(0, dataclasses.replace(WorldConfig(), num_frames=0))
