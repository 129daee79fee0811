"""Study per-image exposure: does it absorb the exposure drift of the synthetic street, and what does it cost?

python -m experiments.studies.exposure --workdir=runs/exposure --seeds=0,1,2
"""

from functools import partial
from pathlib import Path

import numpy as np
from absl import flags

from experiments.cli import command_line
from experiments.studies.measures import exposure as study
from experiments.studies.measures.reconstruction import reconstruct_log, render_frame
from experiments.studies.measures.tables import case_table
from ff_jax.data.scene_data import hold_out
from ff_jax.data.synthetic import StreetConfig, make_street
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.pipeline.config import FuseConfig

HELD_OUT = 4  # every fourth time step
STREETS = {"steady": False, "drifting": True}
EXPOSURES = {"one exposure": study.shared, "one per image": study.per_image}

_CONFIG = command_line.config_flag("experiments/configs/fuse.py:cpu")
_WORKDIR = command_line.workdir_flag()
_SEEDS = command_line.seeds_flag(3)
_STEPS = flags.DEFINE_integer(
    "steps", 600, "Training steps; 0: the initial points are scored.", lower_bound=0, upper_bound=100_000_000
)
_FRAMES = flags.DEFINE_integer(
    "frames", 14, "Images per street, as many as in the demo.", lower_bound=HELD_OUT + 1, upper_bound=100_000
)
_WIDTH = flags.DEFINE_integer(
    "width", 208, "Image width, pixels; the height is 8/13 of it.", lower_bound=16, upper_bound=16_384
)


def settings(seed: int) -> FuseConfig:
    """Build the settings of one reconstruction."""
    config = command_line.to_config(_CONFIG.value)
    return command_line.reconstruction_config(config, _STEPS.value, seed=seed)


def study_seed(seed: int, folder: Path) -> dict[str, dict[str, float]]:
    """Reconstruct one street and compute its figures."""
    figures = {}
    for street, drift in STREETS.items():
        config = StreetConfig(num_frames=_FRAMES.value, moving=False, exposure_drift=drift)
        log = hold_out(street_log(seed, config, _WIDTH.value, round(_WIDTH.value * 8 / 13)), HELD_OUT)
        for name, assign in EXPOSURES.items():
            run = reconstruct_log(assign(log), settings(seed), folder / f"{street}_{name.replace(' ', '_')}")
            figures[f"{street}, {name}"] = study.held_out_psnr(partial(render_frame, run), assign(log))
    exposures = np.asarray(make_street(seed, config).exposures, float)
    return figures | {"drift": study.exposure_errors(run.state.train.scene, assign(log), exposures)}


def main(_: list[str]) -> None:
    """Study all seeds and print the table."""
    print(case_table(command_line.figures_by_seed(_WORKDIR.value, command_line.parse_numbers(_SEEDS, int), study_seed)))


if __name__ == "__main__":
    command_line.run(main)
