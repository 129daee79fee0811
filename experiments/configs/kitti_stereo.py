"""KITTI color stereo at full size: train on the left camera, evaluate at the right one, 0.533 m to the right.

python -m experiments.fuse --config=experiments/configs/kitti_stereo.py --workdir=runs/kitti_stereo

Figures: docs/results.md.
"""

import ml_collections

from experiments.configs import real_log


def get_config() -> ml_collections.ConfigDict:
    """Build the settings for kitti02_stereo_color."""
    c = real_log.get_config()
    c.data.update(source="assets:data/kitti02_stereo_color", use_lidar=False)
    return c
