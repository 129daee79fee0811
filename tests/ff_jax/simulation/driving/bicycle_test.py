"""The bicycle against closed forms: straight lines, circles, braking, and the limits of the wheel."""

import numpy as np
import pytest

from ff_jax.simulation.driving.bicycle import (
    MAX_STEER,
    REAR,
    WHEELBASE,
    VehicleState,
    advance,
    curvature,
    slip,
    steer_for,
)


def test_straight_lines_follow_the_law_of_constant_acceleration():
    start = VehicleState(1.0, 2.0, np.pi / 6, 5.0)
    end = advance(start, 2.0, 0.0, 0.5)
    way = 5 * 0.5 + 0.5 * 2 * 0.5**2
    expected = [1 + way * np.cos(np.pi / 6), 2 + way * np.sin(np.pi / 6), np.pi / 6, 6.0, 0.0]
    np.testing.assert_allclose(end, expected, atol=1e-12)


def test_a_constant_wheel_gives_a_circle():
    """The radius is WHEELBASE / (tan d cos b), from the geometry of both axles."""
    steer, speed = 0.2, 8.0
    beta = np.arctan(0.5 * np.tan(steer))
    radius = WHEELBASE / (np.tan(steer) * np.cos(beta))
    center = radius * np.array([-np.sin(beta), np.cos(beta)])
    state = VehicleState(0.0, 0.0, 0.0, speed, steer)
    for _ in range(40):
        state = advance(state, 0.0, 0.0, 0.25)
        assert np.hypot(state.x - center[0], state.y - center[1]) == pytest.approx(radius, rel=1e-4)
    assert state.yaw == pytest.approx(40 * 0.25 * speed / radius, rel=1e-9)
    assert curvature(steer) == pytest.approx(1 / radius) and slip(steer) == pytest.approx(beta)
    assert steer_for(1 / radius) == pytest.approx(steer)


def test_the_rear_axle_moves_along_the_heading():
    state = VehicleState(0.0, 0.0, 0.3, 5.0, 0.25)
    step = advance(state, 0.0, 0.0, 1e-4)
    rear = [np.array([s.x - REAR * np.cos(s.yaw), s.y - REAR * np.sin(s.yaw)]) for s in (state, step)]
    direction = rear[1] - rear[0]
    assert np.arctan2(direction[1], direction[0]) == pytest.approx(0.3, abs=1e-4)


def test_braking_ends_with_a_stop():
    state = advance(VehicleState(0.0, 0.0, 0.0, 1.0), -2.0, 0.0, 5.0)
    assert state.speed == 0 and state.x == pytest.approx(1.0**2 / (2 * 2))
    assert advance(state, -2.0, 0.0, 1.0)[:4] == state[:4]


def test_the_wheel_turns_at_its_rate_up_to_its_limit():
    state = advance(VehicleState(0.0, 0.0, 0.0, 1.0), 0.0, 0.2, 0.5)
    assert state.steer == pytest.approx(0.1)
    assert advance(state, 0.0, 1.0, 10.0).steer == MAX_STEER and steer_for(-9.0) == -MAX_STEER
