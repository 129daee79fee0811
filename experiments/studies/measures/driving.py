"""Score drives through the scenes of runs, store and tabulate them, and film a lane change in all versions of one."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from ff_jax.export.colormaps import heatmap
from ff_jax.export.figures import contact_sheet
from ff_jax.export.video import write_mp4
from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.runtime.untrusted_files import read_json_object
from ff_jax.simulation import SimulatedScene
from ff_jax.simulation.driving.agents import Agent, lane_change
from ff_jax.simulation.driving.bicycle import VehicleState
from ff_jax.simulation.environment import STEP, DrivingEnvironment, drive


class Key(NamedTuple):
    """Which drive a row of scores belongs to."""

    run: str
    version: str
    agent: str


@dataclasses.dataclass(frozen=True)
class DriveSettings:
    """How agents drive.

    Attributes:
        agents: the drivers, by name.
        cameras: to render; empty renders all.
        most_steps: after which a drive ends.
        aside: meters to the left of the path at the start.
        use_trust: whether to measure the share of unknown pixels.
    """

    agents: Mapping[str, Agent]
    cameras: tuple[str, ...] = ()
    most_steps: int = 400
    aside: float = 0.0
    use_trust: bool = False

    def facts(self) -> dict[str, Any]:
        """Describe the settings for a file."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return values | {"agents": list(self.agents), "cameras": list(self.cameras)}

    def environment(self, scene: SimulatedScene) -> DrivingEnvironment:
        """Make the environment of a scene."""
        return DrivingEnvironment(scene, cameras=self.cameras, use_trust=self.use_trust)


class Drives:
    """The scores of all drives; with a file they are stored as they come, and read again.

    Attributes:
        rows: scores by name of every drive.
    """

    def __init__(self, path: Path | None, facts: dict[str, Any]):
        """Read the scores that are stored; `facts` describes how the agents drive.

        Raises:
            ValueError: the stored ones were driven otherwise, or the file is damaged.
        """
        self._path, self._facts = path, facts
        self.rows: dict[Key, dict[str, float]] = {}
        if path is not None and path.is_file():
            stored = read_json_object(path)
            if stored.get("settings") != json.loads(json.dumps(facts)):
                raise ValueError(f"{path} holds drives of other settings: use another --out.")
            self.rows = {Key(*row["key"]): row["scores"] for row in stored["drives"]}

    def score(self, run: str, version: str, scene: SimulatedScene, settings: DriveSettings) -> None:
        """Let the agents drive that are not scored yet, and store their scores."""
        environment = None
        for agent, control in settings.agents.items():
            if (key := Key(run, version, agent)) in self.rows:
                continue
            environment = environment or settings.environment(scene)
            score, share = drive(environment, control, aside=settings.aside, most_steps=settings.most_steps)
            self.rows[key] = score._asdict() | ({} if share is None else {"unknown_share": share})
            if self._path is not None:
                self._store(self._path)

    def _store(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        drives = [{"key": list(key), "scores": scores} for key, scores in self.rows.items()]
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps({"settings": self._facts, "drives": drives}, indent=1))


def score_table(rows: Mapping[Key, dict[str, float]]) -> str:
    """Tabulate the scores by version and agent: mean and standard deviation over the runs."""
    columns = list(next(iter(rows.values())))
    lines = ["| version | agent | runs | " + " | ".join(name.replace("_", " ") for name in columns) + " |"]
    lines.append("|---" * (len(columns) + 3) + "|")
    for version, agent in dict.fromkeys((key.version, key.agent) for key in rows):
        group = [scores for key, scores in rows.items() if (key.version, key.agent) == (version, agent)]
        cells = [_mean_and_spread([scores[name] for scores in group]) for name in columns]
        lines.append(f"| {version} | {agent} | {len(group)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean_and_spread(values: list[float]) -> str:
    spread = f" +- {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def write_lane_change(
    path: Path, scenes: Mapping[str, SimulatedScene], settings: DriveSettings, meters: float, fps: int
) -> None:
    """Drive a lane change in the last of the versions of a scene, and film it in all of them, side by side.

    Args:
        path: of the MP4 file.
        scenes: versions of one scene, by name.
        settings: of the drive; the first of its cameras is shown, and the EIG maps below if they are measured.
        meters: of the lane change, to the left.
        fps: frames per second; the states of the vehicle are interpolated.
    """
    environments = {name: settings.environment(scene) for name, scene in scenes.items()}
    driven = list(environments.values())[-1]
    drive(driven, lane_change(meters), aside=settings.aside, most_steps=settings.most_steps)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(path, _pictures(environments, list(driven.states), fps), fps)


def _pictures(
    environments: Mapping[str, DrivingEnvironment], states: list[VehicleState], fps: int
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Render all versions along a drive, frame by frame."""
    first = next(iter(environments.values()))
    camera, start = next(iter(first.cameras)), float(first.route.times[0])
    maximum = 2 * first.scene.reader.config.eig.tau
    for seconds in np.arange(0, STEP * (len(states) - 1) + 1e-9, 1 / fps):
        state = state_between(states, seconds / STEP)
        seen = [environment.image(camera, state, start + seconds) for environment in environments.values()]
        colors = [one.rgb for one in seen]
        eig = [heatmap(one.eig, maximum) for one in seen if one.eig is not None]
        labels = ("", f"EIG, 0 to {maximum:.2g} nats") if eig else ()
        yield contact_sheet([colors, eig] if eig else [colors], list(environments), labels)


def state_between(states: list[VehicleState], place: float) -> VehicleState:
    """Interpolate the states of a drive; `place` counts steps from the first one."""
    columns = np.array(states)
    steps = np.arange(len(states))
    return VehicleState(*(float(np.interp(place, steps, column)) for column in columns.T))
