"""The environment on a tiny scene: gymnasium's own check, rewards, the conventions of HUGSIM, and what cameras see."""

import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from ff_jax.render.renderer import SKY_DEPTH
from ff_jax.simulation.driving.agents import pure_pursuit, replay
from ff_jax.simulation.driving.bicycle import REAR, VehicleState
from ff_jax.simulation.environment import COLLISION, COMPLETE, LEFT, OFF_PATH, STEP, STRAIGHT, DrivingEnvironment
from ff_jax.simulation.environment import drive as let_drive
from ff_jax.simulation.observations import ACTOR, SKY
from ff_jax.simulation.scene import SimulatedScene
from tests.ff_jax.data import tiny
from tests.ff_jax.simulation.tiny_scene import posterior_without_views, tiny_reader

pytestmark = pytest.mark.slow

NOTHING = {"acc": np.zeros(1, np.float32), "steer_rate": np.zeros(1, np.float32)}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    reader = tiny_reader(tmp_path_factory.mktemp("run"))
    scene = SimulatedScene(reader)
    scene._posterior = posterior_without_views(reader)
    return DrivingEnvironment(scene, cameras=("a",))


@pytest.fixture
def drive(environment, monkeypatch):
    """A drive of 30 m straight ahead, which this log is too short for."""
    poses = [(i * 100_000, tiny.pose(float(i))) for i in range(31)]
    monkeypatch.setattr(environment.scene, "trajectory", lambda: poses)
    longer = DrivingEnvironment(environment.scene, cameras=("a",))
    longer.reset()
    return longer


def test_gymnasium_finds_no_fault(environment):
    with warnings.catch_warnings():  # actions have HUGSIM's units
        warnings.filterwarnings("ignore", ".*we recommend using a symmetric and normalized space")
        check_env(environment, skip_render_check=True)


def test_observations_show_the_actor_and_the_sky(environment):
    observation, _ = environment.reset()
    rgb, semantic, depth, trust = (observation[key]["a"] for key in ("rgb", "semantic", "depth", "trust"))
    assert rgb.shape == (16, 24, 3) and semantic.dtype == np.uint8 and depth.dtype == trust.dtype == np.float32
    red = (rgb[..., 0].astype(int) - rgb[..., 1]) > 150
    assert red.any() and (semantic[red] == ACTOR).all()
    assert depth[red].mean() == pytest.approx(8, abs=2.5)  # the box of 4 m is 10 m ahead
    assert (semantic == SKY).any() and (depth[semantic != SKY] < SKY_DEPTH).all() and trust.max() > 0


def test_a_recorded_drive_is_completed(drive):
    rewards, has_ended = [], False
    while not has_ended:
        _, reward, has_ended, is_truncated, info = drive.step(NOTHING)
        rewards.append(reward)
    assert rewards == [0.0] * 11 + [COMPLETE] and not is_truncated  # 30 m at 10 m/s in steps of 0.25 s
    assert info["score"]["hd"] == drive.score().hd == 1.0 and info["rc"] == 1.0


def test_agents_drive_to_the_end(drive):
    score, unknown = let_drive(drive, replay)
    assert score == (1.0,) * 6 and 0 <= unknown <= 1 and len(drive.steps) == 12
    score, _ = let_drive(drive, pure_pursuit, aside=-1.5, most_steps=8)
    assert len(drive.steps) == 8 and 0.5 < score.route_completion < 0.8
    assert drive.states[0].y == -1.5 and abs(drive.state.y) < 0.7


def test_collisions_and_lost_paths_end_the_drive(drive):
    drive.states = [VehicleState(12.0, 0.0, 0.0, 5.0)]  # inside the box, which is 10 m to 12 m ahead
    _, reward, has_ended, _, info = drive.step(NOTHING)
    assert (reward, has_ended, info["collision"]) == (COLLISION, True, True) and drive.score().hd == 0
    drive.reset()
    drive.states = [VehicleState(5.0, -11.0, 0.0, 5.0)]
    _, reward, has_ended, _, info = drive.step(NOTHING)
    assert (reward, has_ended, info["collision"]) == (OFF_PATH, True, False)


def test_info_has_the_conventions_of_hugsim(drive):
    drive.states = [VehicleState(3.0, 0.5, 0.05, 5.0, 0.02)]
    info = drive._info(None, 0.0, 0.0)
    ahead = 3.0 - REAR * np.cos(0.05)
    np.testing.assert_allclose(
        info["ego_pos"], [-(0.5 - REAR * np.sin(0.05)), 0, ahead], atol=1e-6
    )  # right, down, ahead
    np.testing.assert_allclose(info["ego_rot"], [0, -0.05, 0])
    np.testing.assert_allclose(info["obj_boxes"], [[10, 0, 0, 2, 4, 1.5, 0]], atol=1e-6)
    np.testing.assert_allclose(info["ego_box"], [3, 0.5, 0.8, 1.9, 4.6, 1.6, 0.05])
    lens = info["cam_params"]["a"]["intrinsic"]
    assert (lens["W"], lens["H"], lens["cx"]) == (24, 16, 12) and np.tan(lens["fovx"] / 2) == pytest.approx(12 / 20)
    np.testing.assert_allclose(info["cam_params"]["a"]["v2c"] @ [1, 0, 0, 1], [0, 0, 1, 1], atol=1e-9)  # ahead is z
    assert info["command"] == STRAIGHT
    drive.states = [VehicleState(3.0, 0.0, -0.3, 5.0)]
    assert drive._command() == LEFT  # the vehicle points to the right of its path


def test_the_camera_moves_with_the_vehicle(drive):
    first, _ = drive.reset()
    drive.states = [drive.state._replace(x=drive.state.x + 4.0)]
    closer = drive._observe()
    assert (closer["semantic"]["a"] == ACTOR).sum() > (first["semantic"]["a"] == ACTOR).sum()
    control = pure_pursuit(drive.route, drive.state, drive.time, STEP)
    assert abs(control.steer_rate) < 1e-6 and abs(control.acceleration) < 0.1


def test_a_camera_that_the_log_lacks_is_an_error(environment):
    with pytest.raises(ValueError, match="unknown camera 'roof': the scene has a, b"):
        DrivingEnvironment(environment.scene, cameras=("roof",))
