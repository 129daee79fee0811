"""Drifting exposures on the built-in street: whether an exposure per image absorbs them, and what that costs.

python -m experiments.studies.exposure --workdir=runs/exposure --seeds=0,1,2
"""

from pathlib import Path

import numpy as np
from absl import flags

from experiments.cli import command_line
from experiments.studies.measures import exposure as study
from experiments.studies.measures.actors import trained
from experiments.studies.measures.poses import table
from ff_jax.data.scene_data import hold_out
from ff_jax.data.synthetic import WorldConfig, make_world
from ff_jax.data.synthetic.driving_log import world_scene
from ff_jax.pipeline.config import FuseConfig

HELD_OUT = 4  # every fourth time step
STREETS = {"steady": False, "drifting": True}
EXPOSURES = {"one exposure": study.shared, "one per image": study.per_image}

_CONFIG = command_line.config_flag("experiments/configs/fuse.py")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the runs, one below it per seed.", required=True)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Streets; finished ones are only read.")
_STEPS = flags.DEFINE_integer("steps", 600, "Training steps; 0 judges the first points.", lower_bound=0)
_FRAMES = flags.DEFINE_integer("frames", 14, "Images of a street; the demo has as many.", lower_bound=HELD_OUT + 1)
_WIDTH = flags.DEFINE_integer("width", 208, "Image width, pixels; the height is 8/13 of it.", lower_bound=16)


def settings(seed: int) -> FuseConfig:
    """Return the settings of one reconstruction."""
    config = command_line.to_config(_CONFIG.value)
    return command_line.alone(config, _STEPS.value, seed=seed)


def one(seed: int, folder: Path) -> dict[str, dict[str, float]]:
    """Run one street and return its figures."""
    figures = {}
    for street, drift in STREETS.items():
        config = WorldConfig(num_frames=_FRAMES.value, moving=False, exposure_drift=drift)
        log = hold_out(world_scene(seed, config, _WIDTH.value, round(_WIDTH.value * 8 / 13)), HELD_OUT)
        for name, arranged in EXPOSURES.items():
            run = trained(arranged(log), settings(seed), folder / f"{street}_{name.replace(' ', '_')}")
            figures[f"{street}, {name}"] = study.held_out(run, arranged(log))
    exposures = np.asarray(make_world(seed, config).exposures, float)
    return figures | {"drift": study.absorbed(run, arranged(log), exposures)}


def main(_: list[str]) -> None:
    """Run all seeds and print the table."""
    print(table(command_line.figures_by_seed(_WORKDIR.value, command_line.numbers(_SEEDS, int), one)))


if __name__ == "__main__":
    command_line.run(main)
