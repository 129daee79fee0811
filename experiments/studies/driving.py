"""Drive through the scene of a run with two simple agents, and score the drives as HUGSIM does.

python -m experiments.studies.driving --run=runs/demo
python -m experiments.studies.driving --run=runs/demo --aside=2 --trust     # and how much of the images is unknown
"""

import json
from pathlib import Path

from absl import flags

from experiments.cli import command_line
from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.simulation import SimulatedScene
from ff_jax.simulation.driving.agents import Agent, pure_pursuit, replay

AGENTS: dict[str, Agent] = {"replay": replay, "pure_pursuit": pure_pursuit}

_RUN, _VERSION = command_line.run_flags()
_AGENTS = flags.DEFINE_list("agents", list(AGENTS), "Drivers: replay (the recorded drive, blindly), pure_pursuit.")
_CAMERAS = flags.DEFINE_list("cameras", [], "Cameras of the log to render; default: all.")
_STEPS = flags.DEFINE_integer("steps", 400, "Most steps of 0.25 s of a drive.", lower_bound=1, upper_bound=400)
_ASIDE = flags.DEFINE_float(
    "aside", 0.0, "Meters to the left of the path at which a drive starts.", lower_bound=-9.0, upper_bound=9.0
)
_TRUST = flags.DEFINE_bool("trust", False, "Also measure the share of pixels that the recording does not determine.")
_OUT = flags.DEFINE_string("out", "", "JSON file for the scores.")


def main(_: list[str]) -> None:
    """Let every agent drive, and print the scores."""
    try:
        from ff_jax.simulation.environment import DrivingEnvironment, drive
    except ImportError as error:
        raise ValueError(str(error)) from None
    if unknown := sorted(set(_AGENTS.value) - set(AGENTS)):
        raise ValueError(f"invalid --agents={unknown[0]}: expected {', '.join(AGENTS)}.")
    scene = SimulatedScene(command_line.open_run(Path(_RUN.value)), version=_VERSION.value)
    environment, rows = DrivingEnvironment(scene, cameras=_CAMERAS.value, use_trust=_TRUST.value), {}
    for name in _AGENTS.value:
        score, share = drive(environment, AGENTS[name], aside=_ASIDE.value, most_steps=_STEPS.value)
        rows[name] = score._asdict() | ({} if share is None else {"unknown_share": share})
    columns = list(next(iter(rows.values())))
    print("| agent | " + " | ".join(name.replace("_", " ") for name in columns) + " |\n|" + "---|" * (len(columns) + 1))
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{row[column]:.3f}" for column in columns) + " |")
    if _OUT.value:
        with atomic_write(_OUT.value) as temporary:
            temporary.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    command_line.run(main)
