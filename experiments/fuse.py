"""Run the main job: reconstruct a driving log, fuse repaired views off the lane into it, evaluate and show it.

python -m experiments.fuse --workdir=runs/demo
python -m experiments.fuse --config=experiments/configs/kitti_stereo.py --workdir=runs/kitti
python -m experiments.fuse --workdir=runs/demo --resume
python -m experiments.fuse --workdir=runs/s3 --config.data.seed=3 --config.schedule.largest=2.0
"""

from pathlib import Path

from experiments.cli import command_line
from ff_jax.data.open import open_log
from ff_jax.pipeline.fuse import fuse

_CONFIG, _WORKDIR, _RESUME = command_line.job_flags()
_REFUSE_PROCESSES = command_line.one_process_flags()


def main(_: list[str]) -> None:
    """Run the main job and print its table."""
    _REFUSE_PROCESSES()
    config = command_line.to_config(_CONFIG.value)
    log = open_log(command_line.with_log_path(config).data, config.evaluate.shifts)
    metrics = fuse(config, log, Path(_WORKDIR.value), resume=_RESUME.value).metrics
    print(metrics["table"])
    print(f"pictures, curves and fly-through: {metrics['page']}")


if __name__ == "__main__":
    command_line.run(main)
