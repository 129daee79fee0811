"""The main job: reconstruct a driving log, fuse generated views into it metres off the lane, evaluate and show it.

python -m experiments.fuse --workdir=runs/demo
python -m experiments.fuse --config=experiments/configs/kitti_stereo.py --workdir=runs/kitti
python -m experiments.fuse --workdir=runs/demo --resume
python -m experiments.fuse --workdir=runs/s3 --config.data.seed=3 --config.schedule.largest=2.0
"""

from pathlib import Path

from absl import flags

from experiments.cli import command_line
from ff_jax.data.open import open_log
from ff_jax.pipeline.fuse import fuse

_CONFIG = command_line.config_flag("experiments/configs/fuse.py")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, logs, results.", required=True)
_RESUME = flags.DEFINE_bool("resume", False, "Go on with the run that is in --workdir.")
_ONE_PROCESS = command_line.one_process_flags()


def main(_: list[str]) -> None:
    """Run the main job."""
    _ONE_PROCESS()
    config = command_line.to_config(_CONFIG.value)
    log = open_log(command_line.with_log_path(config).data, config.evaluate.shifts)
    metrics = fuse(config, log, Path(_WORKDIR.value), resume=_RESUME.value)
    print(metrics["table"])
    print(f"pictures, curves and the flight: {metrics['page']}")


if __name__ == "__main__":
    command_line.run(main)
