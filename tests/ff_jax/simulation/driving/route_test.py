"""Routes, traffic and agents on drives with known geometry."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ff_jax.data.scene_data import Box
from ff_jax.simulation.driving.agents import lane_change, pure_pursuit, replay
from ff_jax.simulation.driving.bicycle import REAR, VehicleState, advance
from ff_jax.simulation.driving.route import make_route
from ff_jax.simulation.driving.traffic import make_traffic, rig_height, road_edges
from tests.ff_jax.data import tiny


def arc(radius=30.0, speed=6.0, seconds=6.0):
    """Return a drive to the left on a circle: the rear axle is at radius, the origin at its start."""
    times = np.arange(0, seconds, 0.1)
    angles = speed * times / radius
    poses = np.tile(np.eye(4), (len(times), 1, 1))
    poses[:, :3, :3] = Rotation.from_euler("z", angles[:, None]).as_matrix()
    poses[:, 0, 3], poses[:, 1, 3] = radius * np.sin(angles), radius * (1 - np.cos(angles))
    poses[:, 2, 3] = 0.1 * times
    return make_route(times, poses)


def test_a_route_measures_lengths_and_finds_the_nearest_point():
    route = arc()
    outer = np.hypot(30, REAR)  # the reference point is ahead of the rear axle
    assert route.length == pytest.approx(outer * 6 * 5.9 / 30, rel=1e-3)
    np.testing.assert_allclose(route.speeds, 6 * outer / 30, rtol=1e-3)
    angle = 0.5
    place = np.array([0, 30]) + (outer + 2) * np.array([np.sin(angle), -np.cos(angle)])
    along, distance = route.nearest(place)
    assert distance == pytest.approx(2, abs=0.01)
    assert along == pytest.approx(outer * (angle - np.arctan2(REAR, 30)), abs=0.02)
    np.testing.assert_allclose(route.point_at(0), [REAR, 0], atol=1e-9)
    beyond = route.point_at(route.length + 3) - route.points[-1]
    np.testing.assert_allclose(beyond, 3 * np.array([np.cos(route.yaws[-1]), np.sin(route.yaws[-1])]), atol=1e-9)


def test_the_recorded_state_has_the_recorded_pose():
    route = arc()
    for index in (0, 17, 40):
        pose = route.rig_pose(route.state_at(float(route.times[index])))
        np.testing.assert_allclose(pose, route.local_from_rig[index], atol=1e-3)


def test_a_vehicle_that_stands_still_has_no_route():
    with pytest.raises(ValueError, match="shorter than 1 m"):
        make_route(np.arange(3.0), np.tile(np.eye(4), (3, 1, 1)))


def drive(agent, route, state, seconds=0.25, until=5.0):
    distances, time = [], 0.0
    while time < until:
        control = agent(route, state, time, seconds)
        state, time = advance(state, *control, seconds), time + seconds
        distances.append(route.nearest(np.array([state.x, state.y])).distance)
    return state, np.array(distances)


def test_agents_stay_on_the_path_and_pure_pursuit_returns_to_it():
    route = arc()
    for agent, most in ((replay, 2.0), (pure_pursuit, 0.5)):
        state, distances = drive(agent, route, route.state_at(0.0))
        assert distances.max() < most, agent
        assert state.speed == pytest.approx(6, abs=0.3)
    aside = route.state_at(0.0)._replace(y=-2.0)
    state, distances = drive(pure_pursuit, route, aside)
    assert distances[0] > 1.5 and distances[-1] < 0.5
    _, blind = drive(replay, route, aside)
    assert blind[-1] > 1.0


def test_a_stopped_vehicle_starts():
    _, distances = drive(pure_pursuit, arc(), VehicleState(REAR, 0.0, 0.0, 0.0))
    assert distances.max() < 0.5


def test_traffic_drives_as_recorded(tmp_path):
    log = tiny.make_scene(tmp_path)
    traffic = make_traffic(log, tiny.pose(100))
    assert traffic.at(0.15)["7"].local_from_object[0, 3] == pytest.approx(113)  # 10 m + 20 m/s * 0.15 s + 100 m
    np.testing.assert_array_equal(traffic.at(0.0)["7"].size, [4, 2, 1.5])
    assert traffic.at(0.24) and not traffic.at(0.3) and not traffic.at(-0.1)


def test_edges_of_the_road_are_segments_of_the_map(tmp_path):
    log = tiny.make_scene(tmp_path)
    assert road_edges(log, np.eye(4)).shape == (0, 2, 2)
    edge = dataclasses.replace(log.lanes[0], kind="road_edge", points=np.array([[0.0, 1, 0], [9, 1, 0], [9, 5, 1]]))
    found = road_edges(dataclasses.replace(log, lanes=(edge,)), tiny.pose(1, 2))
    np.testing.assert_allclose(found, [[[1, 3], [10, 3]], [[10, 3], [10, 7]]])


def test_a_lane_change_ends_beside_the_path():
    route, seconds = arc(speed=8.0, seconds=12.0, radius=200.0), 0.25
    agent, state, time = lane_change(3.0), route.state_at(0.0), 0.0
    offsets = []
    while route.nearest(np.array([state.x, state.y])).along < 0.9 * route.length:
        control = agent(route, state, time, seconds)
        state, time = advance(state, control.acceleration, control.steer_rate, seconds), time + seconds
        offsets.append(200 - np.hypot(state.x, 200 - state.y))  # to the left, inwards
    assert offsets[0] == pytest.approx(0, abs=0.1) and offsets[-1] == pytest.approx(3, abs=0.3)
    assert np.diff(offsets).min() > -0.2 and state.speed == pytest.approx(8, abs=0.2)


def test_the_height_of_the_ego_frame_is_measured_by_vehicles_around(tmp_path):
    log = tiny.make_scene(tmp_path)
    assert rig_height(log) == 0.0  # three boxes are no measurement
    near = [Box(str(i), "vehicle", 0, tiny.pose(i % 9, 3), np.array([4.0, 2, 1.5])) for i in range(40)]
    far = [Box(f"f{i}", "vehicle", 0, tiny.pose(90, 0), np.array([4.0, 2, 30.0])) for i in range(60)]
    assert rig_height(dataclasses.replace(log, boxes=(*near, *far))) == pytest.approx(0.75)
