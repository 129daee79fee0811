"""Simple drivers: one repeats the recorded drive without looking, the others follow its path, or leave it by a lane."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ff_jax.simulation.driving.bicycle import REAR, WHEELBASE, VehicleState, steer_for
from ff_jax.simulation.driving.route import Route

MAX_STEER_RATE = np.deg2rad(15.0)  # rad/s
MAX_ACCELERATION = 2.0  # m/s^2
LOOK_AHEAD, MIN_LOOK_AHEAD = 1.0, 4.0  # seconds at the present speed, and meters
CHANGE_BEGIN, CHANGE_END = 0.1, 0.7  # of a lane change, as shares of the route


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
    return _pursue(route, state, seconds, route.point_at)


def lane_change(meters: float) -> Agent:
    """Make a driver that leaves the recorded path by `meters` to the left, as `pure_pursuit` along a smooth ramp."""

    def change_lane(route: Route, state: VehicleState, time: float, seconds: float) -> Control:
        def goal_at(along: float) -> Float[np.ndarray, "2"]:
            share = np.clip((along / route.length - CHANGE_BEGIN) / (CHANGE_END - CHANGE_BEGIN), 0, 1)
            point, beyond = route.point_at(along), route.point_at(along + 0.5)
            ahead = (beyond - point) / max(float(np.linalg.norm(beyond - point)), 1e-9)
            return point + meters * share**2 * (3 - 2 * share) * np.array([-ahead[1], ahead[0]])

        return _pursue(route, state, seconds, goal_at)

    return change_lane


def _pursue(
    route: Route, state: VehicleState, seconds: float, goal_at: Callable[[float], Float[np.ndarray, "2"]]
) -> Control:
    """Steer to a point ahead, at the recorded speed; `goal_at` gives it for a length of the path, meters."""
    place = np.array([state.x, state.y])
    along = route.nearest(place).along
    ahead = max(LOOK_AHEAD * state.speed, MIN_LOOK_AHEAD)
    rear = place - REAR * np.array([np.cos(state.yaw), np.sin(state.yaw)])
    goal = goal_at(along + ahead) - rear
    angle = np.arctan2(goal[1], goal[0]) - state.yaw
    steer = float(np.arctan2(2 * WHEELBASE * np.sin(angle), np.linalg.norm(goal)))
    return _control(state, max(route.speed_at(along), 1.0), steer, seconds)


def _control(state: VehicleState, speed: float, steer: float, seconds: float) -> Control:
    """Limit what brings the vehicle to a speed (m/s) and a steering angle (radians) within a step."""
    acceleration = np.clip((speed - state.speed) / seconds, -MAX_ACCELERATION, MAX_ACCELERATION)
    rate = np.clip((steer - state.steer) / seconds, -MAX_STEER_RATE, MAX_STEER_RATE)
    return Control(float(acceleration), float(rate))
