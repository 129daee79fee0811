"""Moving actors on the built-in street: what modelling them gains, whether wrong boxes are found, edits against truth.

python -m experiments.studies.actors --workdir=runs/actors --seeds=0,1,2,3,4
"""

import dataclasses
from pathlib import Path

import numpy as np
from absl import flags

from experiments.cli import command_line
from experiments.studies.measures import actors as study
from ff_jax.data.prepare.smoothing import smooth_tracks
from ff_jax.data.scene_data import SceneData, hold_out
from ff_jax.data.synthetic import WorldConfig
from ff_jax.data.synthetic.driving_log import world_scene
from ff_jax.export.figures import contact_sheet
from ff_jax.export.image_bytes import save_png
from ff_jax.pipeline.config import FuseConfig

HELD_OUT = 6  # every sixth time step

_CONFIG = command_line.config_flag("experiments/configs/fuse.py")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the runs, one below it per seed.", required=True)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "Streets; finished ones are only read.")
_STEPS = flags.DEFINE_integer("steps", 1000, "Training steps; 0 judges the first points.", lower_bound=0)
_FRAMES = flags.DEFINE_integer("frames", 24, "Images of a street.", lower_bound=HELD_OUT + 1)
_WIDTH = flags.DEFINE_integer("width", 312, "Image width, pixels; the height is 8/13 of it.", lower_bound=16)
_OFF = flags.DEFINE_string("off", "0.2:2", "Standard error of the wrong boxes, metres:degrees.")


def settings(seed: int, slots: int) -> FuseConfig:
    """Return the settings of one reconstruction."""
    config = command_line.to_config(_CONFIG.value)
    actors = dataclasses.replace(config.actors, slots=slots)
    return command_line.alone(config, _STEPS.value, seed=seed, actors=actors)


def street(seed: int, change=lambda world: world) -> SceneData:
    """Return a street with traffic."""
    config = WorldConfig(num_frames=_FRAMES.value, moving=True, lead_gap=(11.0, 17.0), clear_left=2.5)
    log = world_scene(seed, config, _WIDTH.value, round(_WIDTH.value * 8 / 13), change=change)
    return hold_out(log, HELD_OUT)


def one(seed: int, folder: Path) -> dict[str, object]:
    """Run one street and return its figures."""
    log, figures = street(seed), {}
    runs = {name: study.trained(log, settings(seed, slots), folder / name) for name, slots in study.SLOTS.items()}
    for name, run in runs.items():
        figures[name] = study.held_out(run, log)
    metres, degrees = command_line.pair(_OFF.value, ":", "off", float)
    wrong = study.jittered(log, metres, degrees, np.random.default_rng([seed, 5]))
    # Gradient steps take out the quick part of the errors only: the slow part goes by smoothing first.
    errors = {"jitter": metres / 3**0.5, "turn_jitter": degrees / 3**0.5}
    smooth = smooth_tracks(wrong, **errors, acceleration=0.5, spin=3.0)
    found = study.trained(smooth, settings(seed, study.SLOTS["actors"]), folder / "wrong_boxes")
    figures["wrong_boxes"] = study.held_out(found, log) | study.recovered(found, wrong, log)
    edited, pictures = study.compare_edits(runs["actors"], log, lambda change: street(seed, change))
    save_png(folder / "edits.png", contact_sheet(pictures, ("edited scene", "edited street"), study.EDITS))
    save_png(folder / "held_out.png", study.sheet(runs, log))
    return figures | edited


def main(_: list[str]) -> None:
    """Run all seeds and print the table."""
    rows = command_line.figures_by_seed(_WORKDIR.value, command_line.numbers(_SEEDS, int), one)
    print(study.table(rows))


if __name__ == "__main__":
    command_line.run(main)
