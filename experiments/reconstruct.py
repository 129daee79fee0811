"""Reconstruct a driving log from its recorded views only, without a fixer, and score it.

python -m experiments.reconstruct --config=experiments/configs/kitti_jam.py --workdir=runs/jam
"""

from pathlib import Path

from experiments.cli import command_line
from ff_jax.data.open import open_log
from ff_jax.pipeline.fuse import reconstruct

_CONFIG, _WORKDIR, _RESUME = command_line.job_flags()
_REFUSE_PROCESSES = command_line.one_process_flags()


def main(_: list[str]) -> None:
    """Run the reconstruction and print its table."""
    _REFUSE_PROCESSES()
    config = command_line.to_config(_CONFIG.value)
    log = open_log(command_line.with_log_path(config).data, config.evaluate.shifts)
    metrics = reconstruct(config, log, Path(_WORKDIR.value), resume=_RESUME.value).metrics
    print(metrics["table"])
    print(f"pictures, curves and fly-through: {metrics['page']}")


if __name__ == "__main__":
    command_line.run(main)
