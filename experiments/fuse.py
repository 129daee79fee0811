"""Run the main job: reconstruct a driving log, fuse repaired views off the lane into it, evaluate and show it.

python -m experiments.fuse --workdir=runs/demo
python -m experiments.fuse --config=experiments/configs/kitti_stereo.py --workdir=runs/kitti
python -m experiments.fuse --workdir=runs/demo --resume
python -m experiments.fuse --workdir=runs/s3 --config.data.seed=3 --config.schedule.largest=2.0
"""

from experiments.cli import command_line
from ff_jax.pipeline.fuse import fuse

_RUN = command_line.job_flags()


def main(_: list[str]) -> None:
    """Run the main job and print its table."""
    _RUN(fuse, is_fusing=True)


if __name__ == "__main__":
    command_line.run(main)
