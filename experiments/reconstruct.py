"""Reconstruct a driving log from its recorded views only, without a fixer, and score it.

python -m experiments.reconstruct --config=experiments/configs/kitti_jam.py --workdir=runs/jam
"""

from experiments.cli import command_line
from ff_jax.pipeline.fuse import reconstruct

_RUN = command_line.job_flags()


def main(_: list[str]) -> None:
    """Run the reconstruction and print its table."""
    _RUN(reconstruct, is_fusing=False)


if __name__ == "__main__":
    command_line.run(main)
