"""KITTI color stereo at full size: train on the left camera, evaluate at the right one, 0.533 m to the right.

python -m experiments.fuse --config=experiments/configs/kitti_stereo.py --workdir=runs/kitti_stereo

Expected (one H100, training 69 s + 115 s, fixer 53 s; 2026-11-23): PSNR / SSIM at the right camera 24.69 / 0.823 of the
reconstruction and 25.11 / 0.844 after fusing; held-out left frames 27.57 / 0.831 and 27.45 / 0.841.
"""

import ml_collections

from experiments.configs import real_log


def get_config() -> ml_collections.ConfigDict:
    """Build the settings for kitti02_stereo_color."""
    c = real_log.get_config()
    c.data.update(source="assets:data/kitti02_stereo_color", use_lidar=False)
    return c
