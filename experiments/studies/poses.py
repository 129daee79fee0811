"""Wrong cameras on the built-in street: how far learning recovers them.

python -m experiments.studies.poses --workdir=runs/poses --seeds=0,1,2,3,4
"""

from pathlib import Path

import numpy as np
from absl import flags

from experiments.cli import command_line
from experiments.studies.measures import poses as study
from ff_jax.data.prepare.smoothing import smooth_cameras
from ff_jax.data.synthetic import WorldConfig
from ff_jax.data.synthetic.driving_log import world_scene
from ff_jax.pipeline.config import FuseConfig

_CONFIG = command_line.config_flag("experiments/configs/fuse.py")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the runs, one below it per seed.", required=True)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "Streets; finished ones are only read.")
_STEPS = flags.DEFINE_integer("steps", 400, "Training steps; 0 judges the first points.", lower_bound=0)
_RATE = flags.DEFINE_float("rate", 1e-3, "Learning rate of camera poses, radians.", lower_bound=0.0)
_COARSE = flags.DEFINE_float("coarse", 0.0, "Weight of the coarse image loss.", lower_bound=0.0)
_PATH = flags.DEFINE_float("path", 300.0, "Weight of the roughness of the path, per metre^2.", lower_bound=0.0)
_FRAMES = flags.DEFINE_integer("frames", 14, "Images of a street; the demo has as many.", lower_bound=3)
_WIDTH = flags.DEFINE_integer("width", 208, "Image width, pixels; the height is 8/13 of it.", lower_bound=16)
_OFF = flags.DEFINE_list("off", ["0.03:0.3", "0.2:2"], "Standard errors of the poses, metres:degrees.")


def settings(seed: int) -> FuseConfig:
    """Return the settings of one reconstruction."""
    config = command_line.to_config(_CONFIG.value)
    return command_line.alone(config, _STEPS.value, seed=seed)


def one(seed: int, folder: Path) -> dict[str, dict[str, float]]:
    """Run one street and return its figures."""
    size = _WIDTH.value, round(_WIDTH.value * 8 / 13)
    log, figures = world_scene(seed, WorldConfig(num_frames=_FRAMES.value, moving=False), *size), {}
    config = study.learning(settings(seed), rate=_RATE.value, coarse=_COARSE.value, path=_PATH.value)
    for case in _OFF.value:
        metres, degrees = command_line.pair(case, ":", "off", float)
        wrong = study.jittered(log, metres, degrees, np.random.default_rng([seed, 7]))
        # The quick part of the errors goes by smoothing: what is left is slow, so that the path may be held stiff.
        smooth = smooth_cameras(wrong)
        run = study.trained(smooth, config, folder / f"off_{case.replace(':', '_')}")
        figures[f"{metres:g} m, {degrees:g} deg"] = study.recovered(run, wrong, smooth, log)
    return figures


def main(_: list[str]) -> None:
    """Run all seeds and print the table."""
    rows = command_line.figures_by_seed(_WORKDIR.value, command_line.numbers(_SEEDS, int), one)
    print(study.table(rows))


if __name__ == "__main__":
    command_line.run(main)
