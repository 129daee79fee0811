"""A gymnasium environment: drive through a trained scene, with the spaces, rewards and scores of HUGSIM.

Actions and observations have the keys and units of HUGSIM's environment (hyzhou404/HUGSIM); `trust`, the EIG map of
every image, is our own. Other vehicles drive as recorded.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ff_jax.data.scene_data import transform
from ff_jax.eig import eig_mask
from ff_jax.render.renderer import SKY_DEPTH
from ff_jax.simulation.cameras import Exposure
from ff_jax.simulation.driving import hugsim_frames
from ff_jax.simulation.driving.agents import MAX_ACCELERATION, MAX_STEER_RATE, Agent
from ff_jax.simulation.driving.bicycle import VehicleState, advance
from ff_jax.simulation.driving.route import make_route
from ff_jax.simulation.driving.scores import (
    DriveScore,
    StepScore,
    collides,
    drive_score,
    is_comfortable,
    is_foreseen_safe,
)
from ff_jax.simulation.driving.traffic import (
    MIN_OPACITY,
    hits_background,
    is_on_road,
    make_traffic,
    rectangle,
    rig_height,
    road_edges,
)
from ff_jax.simulation.encoding import Encoding
from ff_jax.simulation.observations import CLASSES, Observation, observe
from ff_jax.simulation.requests import ImageRequest
from ff_jax.simulation.scene import SimulatedScene

try:
    import gymnasium
    from gymnasium import spaces
except ImportError:  # an optional dependency
    raise ImportError("the environment needs the package gymnasium: pip install gymnasium.") from None

STEP = 0.25  # seconds, as in HUGSIM
MAX_STEPS = 400
MAX_TRUST = 100.0  # nats at which EIG is cut off
MAX_DISTANCE = 10.0  # meters from the path
COLLISION, OFF_PATH, COMPLETE = -100.0, -50.0, 1000.0  # rewards
RIGHT, LEFT, STRAIGHT = range(3)  # commands
TURN, TURN_AHEAD = 2.0, 20.0  # meters aside that make a turn, and how far ahead they are measured

Array = np.ndarray


class DrivingEnvironment(gymnasium.Env):
    """Drive through a scene.

    Attributes:
        scene: the scene.
        route: the recorded drive.
        states: of the vehicle since the start.
        steps: their judgments.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  # gymnasium's own annotation

    def __init__(self, scene: SimulatedScene, *, cameras: Sequence[str] = (), use_trust: bool = True):
        """Prepare the environment.

        Args:
            scene: the scene.
            cameras: names of those to render; empty renders all.
            use_trust: whether observations have the EIG maps; the first one computes the posterior.

        Raises:
            ValueError: the recorded vehicle does not move, or the log has no such camera.
        """
        self.scene, self.use_trust = scene, use_trust
        times, poses = zip(*scene.trajectory(), strict=True)
        self.route = make_route(1e-6 * np.array(times, np.float64), np.stack(poses))
        self.cameras = {name: scene.camera(name) for name in cameras or scene.cameras}
        self._traffic = make_traffic(scene.log, scene.local_from_world)
        self._edges = road_edges(scene.log, scene.local_from_world)
        self._background = background_gaussians(scene)
        self._rig_height = rig_height(scene.log)
        self.states: list[VehicleState] = []
        self.steps: list[StepScore] = []
        self.action_space = spaces.Dict(
            {
                "steer_rate": spaces.Box(-MAX_STEER_RATE, MAX_STEER_RATE, (1,), np.float32),
                "acc": spaces.Box(-MAX_ACCELERATION, MAX_ACCELERATION, (1,), np.float32),
            }
        )
        self.observation_space = self._observation_space()

    def _observation_space(self) -> Any:
        def per_camera(high: float | int, dtype: type, channels: tuple[int, ...] = ()) -> Any:
            sizes = {name: (c.intrinsics.height, c.intrinsics.width) for name, c in self.cameras.items()}
            return spaces.Dict({name: spaces.Box(0, high, (*size, *channels), dtype) for name, size in sizes.items()})

        layers = {
            "rgb": per_camera(255, np.uint8, (3,)),
            "semantic": per_camera(len(CLASSES) - 1, np.uint8),
            "depth": per_camera(SKY_DEPTH, np.float32),
        }
        return spaces.Dict(layers | ({"trust": per_camera(MAX_TRUST, np.float32)} if self.use_trust else {}))

    @property
    def state(self) -> VehicleState:
        """Return the present state of the vehicle."""
        return self.states[-1]

    @property
    def time(self) -> float:
        """Return the time in the log, seconds."""
        return float(self.route.times[0]) + STEP * len(self.steps)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Put the vehicle at the start of the recorded drive, at the recorded speed.

        Args:
            seed: unused: nothing is random.
            options: {"aside": meters to the left of the path}.
        """
        super().reset(seed=seed, options=options)
        start, aside = self.route.state_at(float(self.route.times[0])), float((options or {}).get("aside", 0.0))
        x, y = start.x - aside * np.sin(start.yaw), start.y + aside * np.cos(start.yaw)
        self.states, self.steps = [start._replace(x=float(x), y=float(y))], []
        return self._observe(), self._info(None, 0.0, 0.0)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Drive for one step.

        Returns:
            Observation, reward, whether the drive has ended (collision, far from the path, or complete), whether its
            number of steps is used up, and HUGSIM's info with `score`.
        """
        acceleration, rate = (float(np.asarray(action[key]).reshape(-1)[0]) for key in ("acc", "steer_rate"))
        self.states.append(advance(self.state, acceleration, rate, STEP))
        self.steps.append(StepScore(False, True, True, True, 0.0))  # advances the time, at which it is judged
        nearest = self.route.nearest(np.array([self.state.x, self.state.y]))
        self.steps[-1] = judged = self._judge(nearest.along)
        is_complete, is_lost = judged.route_completion > 1 - 1e-9, nearest.distance > MAX_DISTANCE
        reward = COLLISION * judged.has_collision + OFF_PATH * is_lost + COMPLETE * is_complete
        has_ended = judged.has_collision or is_lost or is_complete
        info = self._info(judged, acceleration, rate)
        return self._observe(), float(reward), bool(has_ended), len(self.steps) >= MAX_STEPS, info

    def score(self) -> DriveScore:
        """Return the scores of the drive so far.

        Raises:
            ValueError: no step was taken.
        """
        return drive_score(self.steps)

    def _judge(self, along: float) -> StepScore:
        state, boxes = self.state, self._traffic.at(self.time)
        corners = rectangle(state.x, state.y, state.yaw)
        ground = float(self.route.rig_pose(state)[2, 3]) - self._rig_height
        return StepScore(
            has_collision=collides(corners, boxes) or hits_background(*self._background, state, ground),
            is_on_road=is_on_road(corners, self.route.point_at(along), self._edges),
            is_foreseen_safe=is_foreseen_safe(state, self._traffic.at, self.time),
            is_comfortable=is_comfortable(self.states, STEP),
            route_completion=along / self.route.length,
        )

    def _observe(self) -> dict[str, dict[str, Any]]:
        seen = {name: self.image(name, self.state, self.time) for name in self.cameras}
        layers = {layer: {name: getattr(one, layer) for name, one in seen.items()} for layer in ("rgb", "semantic")}
        layers["depth"] = {name: np.clip(one.depth, 0, SKY_DEPTH) for name, one in seen.items()}
        if self.use_trust:
            layers["trust"] = {
                name: np.clip(one.eig, 0, MAX_TRUST) for name, one in seen.items() if one.eig is not None
            }
        return layers

    def image(self, name: str, state: VehicleState, time: float) -> Observation:
        """Render the image of a camera of the vehicle in a state at a time (seconds), with the traffic of that time."""
        exposure = Exposure(self.route.rig_pose(state) @ self.cameras[name].rig_from_camera, None, columns=False)
        objects = {track: box.local_from_object for track, box in self._traffic.at(time).items()}
        request = ImageRequest("", name, None, None, exposure, time, objects, Encoding("PNG"))
        return observe(self.scene, request, use_trust=self.use_trust)

    def _info(self, judged: StepScore | None, acceleration: float, rate: float) -> dict[str, Any]:
        """Describe the vehicle and what surrounds it as HUGSIM does."""
        state, pose = self.state, self.route.rig_pose(self.state)
        boxes = self._traffic.at(self.time)
        info = {
            "ego_pos": hugsim_frames.position(pose),
            "ego_rot": np.array([0.0, -state.yaw, 0.0]),  # Euler angles XYZ; y is down
            "ego_velo": state.speed,
            "ego_steer": state.steer,
            "accelerate": acceleration,
            "steer_rate": rate,
            "timestamp": STEP * len(self.steps),
            "command": self._command(),
            "ego_box": hugsim_frames.ego_box(state.x, state.y, float(pose[2, 3]) - self._rig_height, state.yaw),
            "obj_boxes": np.stack([np.zeros(7), *map(hugsim_frames.box_row, boxes.values())])[1:],
            "cam_params": hugsim_frames.camera_params(self.cameras),
            "rc": judged.route_completion if judged else 0.0,
            "collision": judged.has_collision if judged else False,
        }
        return info | ({"score": self.score()._asdict()} if judged else {})

    def _command(self) -> int:
        """Tell where the route leads: RIGHT, LEFT or STRAIGHT."""
        place = np.array([self.state.x, self.state.y])
        offset = self.route.point_at(self.route.nearest(place).along + TURN_AHEAD) - place
        aside = offset[1] * np.cos(self.state.yaw) - offset[0] * np.sin(self.state.yaw)
        return LEFT if aside > TURN else RIGHT if aside < -TURN else STRAIGHT


def drive(
    environment: DrivingEnvironment, agent: Agent, *, aside: float = 0.0, most_steps: int = MAX_STEPS
) -> tuple[DriveScore, float | None]:
    """Let an agent drive to the end.

    Args:
        environment: the scene and the route.
        agent: the driver.
        aside: meters to the left of the path at the start.
        most_steps: after which the drive ends.

    Returns:
        The scores, and the share of unknown pixels (at least `eig.tau` of the run) over all images after the first
        step; None without `use_trust`.
    """
    environment.reset(options={"aside": aside})
    tau, is_over = environment.scene.reader.config.eig.tau, False
    unknown: list[float] = []
    while not is_over and len(environment.steps) < most_steps:
        control = agent(environment.route, environment.state, environment.time, STEP)
        numbers = {"acc": control.acceleration, "steer_rate": control.steer_rate}
        action = {name: np.array([number], np.float32) for name, number in numbers.items()}
        observation, _, has_ended, is_truncated, _ = environment.step(action)
        unknown += [float(eig_mask(nats, tau).mean()) for nats in observation.get("trust", {}).values()]
        is_over = has_ended or is_truncated
    return environment.score(), float(np.mean(unknown)) if unknown else None


def background_gaussians(scene: SimulatedScene) -> tuple[Float[Array, "N 3"], Bool[Array, "N"]]:
    """Return the centers (local frame) of the background's Gaussians without the ground, and which are opaque."""
    found = scene.model.scene
    rows = slice(found.num_ground, found.num_static)
    gaussians, alive = found.params.gaussians, np.asarray(found.alive)[rows]
    opacity = 1 / (1 + np.exp(-np.asarray(gaussians.logit_opacities, np.float64)[rows]))
    means = transform(scene.local_from_world, np.asarray(gaussians.means, np.float64)[rows])
    return means, alive & (opacity >= MIN_OPACITY)
