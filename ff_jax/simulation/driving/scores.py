"""Score a drive: collisions, road, time to collision, comfort, progress, and HUGSIM's HD score of all of them.

HD = mean over steps of NC x DAC x (5 TTC + 2 comfort) / 7, times the largest completed share of the route
(hyzhou404/HUGSIM, sim/utils/score_calculator.py; its progress weight is declared, but not used).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ff_jax.simulation.driving.bicycle import VehicleState, curvature
from ff_jax.simulation.driving.traffic import Placed, footprint, overlap, rectangle

HORIZON, HORIZON_STEP = 1.0, 0.25  # seconds over which a collision is foreseen
TTC_WEIGHT, COMFORT_WEIGHT = 5, 2
# Bounds of a comfortable ride (nuPlan, motional/nuplan-devkit, ego_is_comfortable): m/s^2, m/s^3, rad/s, rad/s^2.
MAX_BRAKING, MAX_ACCELERATION, MAX_LATERAL = 4.05, 2.40, 4.89
MAX_JERK_ALONG, MAX_JERK = 4.13, 8.37  # of the acceleration along the road, and of the size of the whole one
MAX_YAW_RATE, MAX_YAW_ACCELERATION = 0.95, 1.93

Array = np.ndarray


class StepScore(NamedTuple):
    """The judgment of one step."""

    has_collision: bool
    is_on_road: bool
    is_foreseen_safe: bool  # no collision within `HORIZON` if everything keeps its velocity
    is_comfortable: bool
    route_completion: float  # 0 to 1


class DriveScore(NamedTuple):
    """The scores of a drive, each 0 to 1."""

    hd: float
    no_collision: float
    on_road: float
    time_to_collision: float
    comfort: float
    route_completion: float


def drive_score(steps: Sequence[StepScore]) -> DriveScore:
    """Summarize the steps of a drive.

    Raises:
        ValueError: there is no step.
    """
    if not steps:
        raise ValueError("a drive without a step has no score: take at least one.")
    safe = np.array([not step.has_collision for step in steps], float)
    road, foreseen, comfort = (np.array([step[i] for step in steps], float) for i in (1, 2, 3))
    completion = float(np.clip(max(step.route_completion for step in steps), 0, 1))
    quality = (TTC_WEIGHT * foreseen + COMFORT_WEIGHT * comfort) / (TTC_WEIGHT + COMFORT_WEIGHT)
    return DriveScore(
        hd=float((safe * road * quality).mean()) * completion,
        no_collision=float(safe.mean()),
        on_road=float(road.mean()),
        time_to_collision=float(foreseen.mean()),
        comfort=float(comfort.mean()),
        route_completion=completion,
    )


def collides(corners: Float[Array, "4 2"], boxes: dict[str, Placed]) -> bool:
    """Check whether the vehicle overlaps a box."""
    return any(overlap(corners, footprint(box)) for box in boxes.values())


def is_foreseen_safe(state: VehicleState, boxes_at: Callable[[float], dict[str, Placed]], time: float) -> bool:
    """Check that there is no collision within `HORIZON` if the vehicle and all others keep their velocities.

    Args:
        state: of the vehicle.
        boxes_at: all others at a time, seconds.
        time: now, seconds.
    """
    now, before = boxes_at(time), boxes_at(time - HORIZON_STEP)
    velocities = {
        name: (box.local_from_object[:2, 3] - before[name].local_from_object[:2, 3]) / HORIZON_STEP
        if name in before
        else np.zeros(2)
        for name, box in now.items()
    }
    ahead = state.speed * np.array([np.cos(state.yaw), np.sin(state.yaw)])
    own, others = rectangle(state.x, state.y, state.yaw), {name: footprint(box) for name, box in now.items()}
    for seconds in np.arange(0, HORIZON + 1e-9, HORIZON_STEP):
        if any(overlap(own + seconds * ahead, box + seconds * velocities[name]) for name, box in others.items()):
            return False
    return True


def is_comfortable(states: Sequence[VehicleState], seconds: float) -> bool:
    """Check the last step of a drive: accelerations, jerk and yaw rates.

    Args:
        states: up to now; the last three are used.
        seconds: between two of them.
    """
    speeds = np.array([state.speed for state in states[-3:]])
    rates = np.array([state.speed * curvature(state.steer) for state in states[-3:]])
    along, turning = np.diff(speeds) / seconds, np.diff(rates) / seconds
    lateral = speeds * rates
    jerk_along, jerk = (np.diff(value) / seconds for value in (along, np.hypot(along, lateral[1:])))
    within = [
        not along.size or -MAX_BRAKING <= along[-1] <= MAX_ACCELERATION,
        abs(lateral[-1]) <= MAX_LATERAL,
        not jerk.size or (abs(jerk_along[-1]) <= MAX_JERK_ALONG and abs(jerk[-1]) <= MAX_JERK),
        abs(rates[-1]) <= MAX_YAW_RATE,
        not turning.size or abs(turning[-1]) <= MAX_YAW_ACCELERATION,
    ]
    return all(within)
