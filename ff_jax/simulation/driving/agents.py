"""Two simple drivers: one repeats the recorded drive without looking, the other follows its path (pure pursuit)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ff_jax.simulation.driving.bicycle import REAR, WHEELBASE, VehicleState, steer_for
from ff_jax.simulation.driving.route import Route

MAX_STEER_RATE = np.deg2rad(15.0)  # rad/s
MAX_ACCELERATION = 2.0  # m/s^2
LOOK_AHEAD, MIN_LOOK_AHEAD = 1.0, 4.0  # seconds at the present speed, and meters


class Control(NamedTuple):
    """What a driver does during one step."""

    acceleration: float  # m/s^2
    steer_rate: float  # rad/s


Agent = Callable[[Route, VehicleState, float, float], Control]  # of the route, the state, the time and the step


def replay(route: Route, state: VehicleState, time: float, seconds: float) -> Control:
    """Repeat the recorded speeds and curvatures by the clock, wherever the vehicle is."""
    target = route.state_at(time + seconds)
    turn = float(np.interp(time + seconds, route.times, route.yaws) - np.interp(time, route.times, route.yaws))
    distance = max(0.5 * (state.speed + target.speed) * seconds, 1e-3)
    steer = steer_for(turn / distance) if state.speed > 0.5 else 0.0
    return _control(state, target.speed, steer, seconds)


def pure_pursuit(route: Route, state: VehicleState, time: float, seconds: float) -> Control:
    """Steer to a point of the path ahead, at the recorded speed (Coulter 1992, CMU-RI-TR-92-01)."""
    place = np.array([state.x, state.y])
    along = route.nearest(place).along
    ahead = max(LOOK_AHEAD * state.speed, MIN_LOOK_AHEAD)
    rear = place - REAR * np.array([np.cos(state.yaw), np.sin(state.yaw)])
    goal = route.point_at(along + ahead) - rear
    angle = np.arctan2(goal[1], goal[0]) - state.yaw
    steer = float(np.arctan2(2 * WHEELBASE * np.sin(angle), np.linalg.norm(goal)))
    return _control(state, max(route.speed_at(along), 1.0), steer, seconds)


def _control(state: VehicleState, speed: float, steer: float, seconds: float) -> Control:
    """Limit what brings the vehicle to a speed (m/s) and a steering angle (radians) within a step."""
    acceleration = np.clip((speed - state.speed) / seconds, -MAX_ACCELERATION, MAX_ACCELERATION)
    rate = np.clip((steer - state.steer) / seconds, -MAX_STEER_RATE, MAX_STEER_RATE)
    return Control(float(acceleration), float(rate))
