"""Every score on drives made by hand; rectangles against areas of polygons sampled on a grid."""

import numpy as np
import pytest

from ff_jax.simulation.driving.bicycle import VehicleState, steer_for
from ff_jax.simulation.driving.scores import (
    StepScore,
    collides,
    drive_score,
    is_comfortable,
    is_foreseen_safe,
)
from ff_jax.simulation.driving.traffic import Placed, crosses, hits_background, is_on_road, overlap, rectangle
from tests.ff_jax.data.tiny import pose
from tests.random_inputs import seeded_rng

CAR = np.array([4.0, 2.0, 1.5])
GOOD = StepScore(False, True, True, True, 0.0)


def placed(x, y=0.0):
    return Placed(pose(x, y), CAR)


def test_the_hd_score_is_the_formula_of_hugsim():
    """Written down by hand: four steps, one with each fault, and 80% of the route."""
    steps = [
        GOOD,
        GOOD._replace(is_foreseen_safe=False),
        GOOD._replace(is_comfortable=False, route_completion=0.8),
        GOOD._replace(is_on_road=False, route_completion=0.5),
    ]
    score = drive_score(steps)
    assert score.hd == pytest.approx((7 / 7 + 2 / 7 + 5 / 7 + 0) / 4 * 0.8)
    assert score[1:] == (1.0, 0.75, 0.75, 0.75, 0.8)
    assert drive_score([GOOD._replace(has_collision=True, route_completion=1.0)]).hd == 0
    assert drive_score([GOOD._replace(route_completion=1.7)]).hd == 1
    with pytest.raises(ValueError, match="without a step"):
        drive_score([])


def test_rectangles_overlap_where_a_point_is_in_both():
    rng = seeded_rng()
    grid = np.stack(np.meshgrid(np.linspace(-8, 8, 321), np.linspace(-8, 8, 321)), -1).reshape(-1, 2)

    def inside(x, y, yaw):
        offset = grid - [x, y]
        along, across = offset @ [np.cos(yaw), np.sin(yaw)], offset @ [-np.sin(yaw), np.cos(yaw)]
        return (np.abs(along) <= 2.3) & (np.abs(across) <= 0.95)

    found = []
    for _ in range(60):
        a, b = (tuple(rng.uniform([-3, -3, -4], [3, 3, 4])) for _ in range(2))
        both = (inside(*a) & inside(*b)).sum()
        if both == 0 or both > 8:  # a touch by less than some points of the grid is not decided
            grown = overlap(rectangle(*a), rectangle(*b))
            assert grown == (both > 0) or (both == 0 and overlap(rectangle(*a, 4.5, 1.8), rectangle(*b)) is False)
            found.append(grown)
    assert any(found) and not all(found)


def test_collisions_with_boxes():
    corners = rectangle(0.0, 0.0, 0.0)
    assert collides(corners, {"a": placed(4.2)}) and not collides(corners, {"a": placed(4.4), "b": placed(0, 2.0)})
    assert not collides(corners, {})


def test_a_collision_is_foreseen_within_a_second():
    def standing(distance):
        return lambda time: {"a": placed(distance)}

    state = VehicleState(0.0, 0.0, 0.0, 8.0)
    gap = 2.3 + 2.0  # half of both lengths
    assert not is_foreseen_safe(state, standing(gap + 7.9), 0.0) and is_foreseen_safe(state, standing(gap + 8.1), 0.0)
    assert is_foreseen_safe(state, lambda time: {"a": placed(gap + 1 + 8 * time)}, 2.0)  # as fast as the vehicle
    assert not is_foreseen_safe(state, lambda time: {"a": placed(gap + 31 - 8 * time)}, 2.0)  # it comes closer
    assert is_foreseen_safe(state, lambda time: {}, 0.0)


def test_a_ride_is_comfortable_within_the_bounds_of_nuplan():
    def ride(*speeds, steers=None):
        return [VehicleState(0, 0, 0, v, s) for v, s in zip(speeds, steers or [0.0] * len(speeds), strict=True)]

    assert is_comfortable(ride(5), 0.25) and is_comfortable(ride(5, 5.5, 6, 6.5), 0.25)  # 2 m/s^2
    assert not is_comfortable(ride(5, 5.65), 0.25)  # 2.6 m/s^2
    assert is_comfortable(ride(6, 5), 0.25) and not is_comfortable(ride(6, 4.9), 0.25)  # -4 and -4.4 m/s^2
    assert not is_comfortable(ride(5, 5.5, 5.4), 0.25)  # jerk: from 2 to -0.4 m/s^2 in 0.25 s
    steer = 0.15  # curvature tan(d) cos(b) / WHEELBASE = 0.0558 per meter
    assert is_comfortable(ride(9, 9, steers=[steer] * 2), 0.25)  # 4.52 m/s^2 to the side
    assert not is_comfortable(ride(9.5, 9.5, steers=[steer] * 2), 0.25)  # 5.04 m/s^2
    assert not is_comfortable(ride(5, 5, steers=[0.0, 0.27]), 0.25)  # yaw rate from 0 to 0.51 rad/s
    assert is_comfortable(ride(5, 5.25, 5.75), 0.25)  # jerk: from 1 to 2 m/s^2 in 0.25 s
    assert not is_comfortable(ride(5, 5.25, 5.8), 0.25)  # 4.8 m/s^3 along the road
    turn = steer_for(0.2 / 12)  # 0.2 rad/s and 2.4 m/s^2 to the side at 12 m/s: 9.6 m/s^3
    assert not is_comfortable(ride(12, 12, 12, steers=[0.0, 0.0, turn]), 0.25)
    assert is_comfortable(ride(9, 9, 9, steers=[0.0, 0.0, turn]), 0.25)  # 5.4 m/s^3
    turn = steer_for(2.0 / 12.25**2)  # 2 m/s^2 to the side at 12.25 m/s: 8 m/s^3
    assert is_comfortable(ride(12.25, 12.25, 12.25, steers=[0.0, 0.0, turn]), 0.25)
    assert not is_comfortable(ride(12, 12, 12.25, steers=[0.0, 0.0, turn]), 0.25)  # with 1 m/s^2 along: 8.9 m/s^3


def test_the_road_ends_at_its_edges():
    edges = np.array([[[-20.0, 3.0], [20.0, 3.0]]])
    assert is_on_road(rectangle(0, 1.9, 0), np.zeros(2), edges)
    assert not is_on_road(rectangle(0, 2.2, 0), np.zeros(2), edges)  # the left wheels are beyond it
    assert not is_on_road(rectangle(0, 6, 0), np.zeros(2), edges) and is_on_road(
        rectangle(0, 6, 0), np.zeros(2), edges[:0]
    )
    assert not crosses(np.zeros(2), np.array([0, 2.9]), edges) and crosses(np.zeros(2), np.array([0, 3.1]), edges)
    assert not crosses(np.array([30.0, 0]), np.array([30.0, 9]), edges)  # beside its end


def test_the_background_is_hit_where_its_gaussians_fill_the_vehicle():
    rng = seeded_rng()
    cloud = rng.uniform([-2, -0.8, 0.4], [2, 0.8, 1.5], (150, 3))
    state, solid = VehicleState(10.0, 5.0, np.pi / 2, 0.0), np.ones(150, bool)
    turned = cloud @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]]) + np.array([10, 5, 2])
    assert hits_background(turned, solid, state, 2.0) and not hits_background(turned, solid, state, 5.0)
    assert not hits_background(turned, np.arange(150) < 100, state, 2.0)
    assert not hits_background(turned - [0, 0, 1.4], solid, state, 2.0)  # on the road
