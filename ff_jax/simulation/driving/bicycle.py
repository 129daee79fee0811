"""The motion of a vehicle: the kinematic bicycle (Rajamani, Vehicle Dynamics and Control, section 2.2).

The reference point is in the middle between the axles. With the steering angle d of the front wheel, the direction of
motion is b = atan(REAR tan(d) / WHEELBASE) left of the heading, and

    x' = v cos(yaw + b),  y' = v sin(yaw + b),  yaw' = v sin(b) / REAR.

Both axles are 1.35 m from the reference point, as in HUGSIM (hyzhou404/HUGSIM).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

REAR = 1.35  # meters from the rear axle to the reference point
WHEELBASE = 2 * REAR  # meters
MAX_STEER = np.deg2rad(35.0)  # radians

Array = np.ndarray


class VehicleState(NamedTuple):
    """The state of the vehicle in the plane."""

    x: float  # meters, local frame, of the reference point
    y: float
    yaw: float  # radians, from x to y
    speed: float  # m/s, not negative
    steer: float = 0.0  # radians, of the front wheel, positive to the left


def slip(steer: float) -> float:
    """Compute the angle from the heading to the direction of motion, radians."""
    return float(np.arctan(REAR / WHEELBASE * np.tan(steer)))


def curvature(steer: float) -> float:
    """Compute the curvature of the path, 1/m, positive to the left."""
    return float(np.sin(slip(steer)) / REAR)


def steer_for(path_curvature: float) -> float:
    """Compute the steering angle for a curvature (1/m) of the path, within the limits of the wheel."""
    angle = np.arcsin(np.clip(REAR * path_curvature, -0.99, 0.99))
    return float(np.clip(np.arctan(WHEELBASE / REAR * np.tan(angle)), -MAX_STEER, MAX_STEER))


def advance(state: VehicleState, acceleration: float, steer_rate: float, seconds: float) -> VehicleState:
    """Move the vehicle with constant acceleration (m/s^2) and steering rate (rad/s); it stops, and never reverses.

    One step of Runge and Kutta's method of order 4; the time of motion ends where the speed reaches 0.
    """
    moving = seconds if acceleration >= 0 else min(seconds, state.speed / -acceleration)

    def derivative(time: float, yaw: float) -> Float[Array, "3"]:
        speed = state.speed + acceleration * time
        beta = slip(_steer_after(state.steer, steer_rate, time))
        return speed * np.array([np.cos(yaw + beta), np.sin(yaw + beta), np.sin(beta) / REAR])

    first = derivative(0.0, state.yaw)
    second = derivative(moving / 2, state.yaw + moving / 2 * first[2])
    third = derivative(moving / 2, state.yaw + moving / 2 * second[2])
    fourth = derivative(moving, state.yaw + moving * third[2])
    x, y, yaw = np.array([state.x, state.y, state.yaw]) + moving / 6 * (first + 2 * second + 2 * third + fourth)
    speed = max(state.speed + acceleration * seconds, 0.0)
    return VehicleState(float(x), float(y), float(yaw), speed, _steer_after(state.steer, steer_rate, seconds))


def _steer_after(steer: float, rate: float, seconds: float) -> float:
    return float(np.clip(steer + rate * seconds, -MAX_STEER, MAX_STEER))
