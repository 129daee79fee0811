"""Study pose refinement: how far training corrects wrong camera poses of the synthetic street.

python -m experiments.studies.poses --workdir=runs/poses --seeds=0,1,2,3,4
"""

from pathlib import Path

import numpy as np
from absl import flags

from experiments.cli import command_line
from experiments.studies.measures import poses as study
from experiments.studies.measures.reconstruction import reconstruct_log
from experiments.studies.measures.tables import case_table
from ff_jax.data.prepare.smoothing import smooth_cameras
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.pipeline.config import FuseConfig

_CONFIG = command_line.config_flag("experiments/configs/fuse.py:cpu")
_WORKDIR = command_line.workdir_flag()
_SEEDS = command_line.seeds_flag(5)
_STEPS = flags.DEFINE_integer(
    "steps", 400, "Training steps; 0: the initial points are scored.", lower_bound=0, upper_bound=100_000_000
)
_RATE = flags.DEFINE_float("rate", 1e-3, "Learning rate of camera poses, radians.", lower_bound=0.0, upper_bound=10.0)
_COARSE = flags.DEFINE_float("coarse", 0.0, "Weight of the coarse image loss.", lower_bound=0.0, upper_bound=1e06)
_PATH = flags.DEFINE_float(
    "path", 300.0, "Weight of the roughness of the camera path, per meter^2.", lower_bound=0.0, upper_bound=1e06
)
_FRAMES = flags.DEFINE_integer(
    "frames", 14, "Images per street, as many as in the demo.", lower_bound=3, upper_bound=100_000
)
_WIDTH = flags.DEFINE_integer(
    "width", 208, "Image width, pixels; the height is 8/13 of it.", lower_bound=16, upper_bound=16_384
)
_OFF = flags.DEFINE_list("off", ["0.03:0.3", "0.2:2"], "Standard deviations of the pose errors, meters:degrees.")


def settings(seed: int) -> FuseConfig:
    """Build the settings of one reconstruction."""
    config = command_line.to_config(_CONFIG.value)
    return command_line.reconstruction_config(config, _STEPS.value, seed=seed)


def study_seed(seed: int, folder: Path) -> dict[str, dict[str, float]]:
    """Reconstruct one street and compute its figures."""
    size = _WIDTH.value, round(_WIDTH.value * 8 / 13)
    log, figures = street_log(seed, StreetConfig(num_frames=_FRAMES.value, moving=False), *size), {}
    config = study.with_pose_refinement(settings(seed), rate=_RATE.value, coarse=_COARSE.value, path=_PATH.value)
    for case in _OFF.value:
        meters, degrees = command_line.parse_pair(case, ":", "off", float)
        wrong = study.perturb_poses(log, meters, degrees, np.random.default_rng([seed, 7]))
        # Smoothing removes the high frequencies of the errors; the rest is slow, so that a stiff path fits it.
        smooth = smooth_cameras(wrong)
        run = reconstruct_log(smooth, config, folder / f"off_{case.replace(':', '_')}")
        figures[f"{meters:g} m, {degrees:g} deg"] = study.refinement_errors(run.state.train.scene, wrong, smooth, log)
    return figures


def main(_: list[str]) -> None:
    """Study all seeds and print the table."""
    rows = command_line.figures_by_seed(_WORKDIR.value, command_line.parse_numbers(_SEEDS, int), study_seed)
    print(case_table(rows))


if __name__ == "__main__":
    command_line.run(main)
