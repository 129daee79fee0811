"""Study moving actors of the synthetic street: modeled or not, correction of wrong boxes, edits against truth.

python -m experiments.studies.actors --workdir=runs/actors --seeds=0,1,2,3,4
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from absl import flags

from experiments.cli import command_line
from experiments.studies.measures import actors as study
from experiments.studies.measures.reconstruction import reconstruct_log
from ff_jax.data.prepare.smoothing import smooth_tracks
from ff_jax.data.scene_data import SceneData, hold_out
from ff_jax.data.synthetic import Street, StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.export.figures import contact_sheet
from ff_jax.export.image_bytes import save_png
from ff_jax.pipeline.config import FuseConfig

HELD_OUT = 6  # every sixth time step

_CONFIG = command_line.config_flag("experiments/configs/fuse.py:cpu")
_WORKDIR = command_line.workdir_flag()
_SEEDS = command_line.seeds_flag(5)
_STEPS = flags.DEFINE_integer(
    "steps", 1000, "Training steps; 0: the initial points are scored.", lower_bound=0, upper_bound=100_000_000
)
_FRAMES = flags.DEFINE_integer("frames", 24, "Images per street.", lower_bound=HELD_OUT + 1, upper_bound=100_000)
_WIDTH = flags.DEFINE_integer(
    "width", 312, "Image width, pixels; the height is 8/13 of it.", lower_bound=16, upper_bound=16_384
)
_OFF = flags.DEFINE_string("off", "0.2:2", "Standard deviation of the box errors, meters:degrees.")


def settings(seed: int, slots: int) -> FuseConfig:
    """Build the settings of one reconstruction."""
    config = command_line.to_config(_CONFIG.value)
    actors = dataclasses.replace(config.actors, slots=slots)
    return command_line.reconstruction_config(config, _STEPS.value, seed=seed, actors=actors)


def make_log(seed: int, edit: Callable[[Street], Street] | None = None) -> SceneData:
    """Make the log of a street with traffic, edited if `edit` is given."""
    config = StreetConfig(num_frames=_FRAMES.value, moving=True, lead_gap=(11.0, 17.0), clear_left=2.5)
    log = street_log(seed, config, _WIDTH.value, round(_WIDTH.value * 8 / 13), edit=edit or (lambda street: street))
    return hold_out(log, HELD_OUT)


def study_seed(seed: int, folder: Path) -> dict[str, object]:
    """Reconstruct one street and compute its figures."""
    log, figures = make_log(seed), {}
    runs = {name: reconstruct_log(log, settings(seed, slots), folder / name) for name, slots in study.SLOTS.items()}
    for name, run in runs.items():
        figures[name] = study.held_out_psnr(run, log)
    meters, degrees = command_line.parse_pair(_OFF.value, ":", "off", float)
    wrong = study.perturb_boxes(log, meters, degrees, np.random.default_rng([seed, 5]))
    # Training removes only the high frequencies of the errors; smoothing removes the low ones before.
    errors = {"jitter": meters / 3**0.5, "turn_jitter": degrees / 3**0.5}
    smooth = smooth_tracks(wrong, **errors, acceleration=0.5, spin=3.0)
    run = reconstruct_log(smooth, settings(seed, study.SLOTS["actors"]), folder / "wrong_boxes")
    figures["wrong_boxes"] = study.held_out_psnr(run, log) | study.box_errors(run, wrong, log)
    edited, images = study.compare_edits(runs["actors"], log, partial(make_log, seed))
    save_png(folder / "edits.png", contact_sheet(images, ("edited scene", "edited street"), study.EDITS))
    save_png(folder / "held_out.png", study.held_out_sheet(runs, log))
    return figures | edited


def main(_: list[str]) -> None:
    """Study all seeds and print the table."""
    rows = command_line.figures_by_seed(_WORKDIR.value, command_line.parse_numbers(_SEEDS, int), study_seed)
    print(study.table(rows))


if __name__ == "__main__":
    command_line.run(main)
