"""KITTI color stereo at full size: train on the left camera, evaluate at the right one, 0.533 m to the right.

python -m experiments.fuse --config=experiments/configs/kitti_stereo.py --workdir=runs/kitti_stereo

Expected (one H100, training 69 s + 115 s, fixer 53 s; 2026-11-23): PSNR / SSIM at the right camera 24.69 / 0.823 of the
reconstruction and 25.11 / 0.844 after fusing; held-out left frames 27.57 / 0.831 and 27.45 / 0.841.
"""

import ml_collections

from experiments.cli.command_line import config_dict
from ff_jax.pipeline.config import FuseConfig


def get_config() -> ml_collections.ConfigDict:
    """Build the settings for kitti02_stereo_color."""
    c = config_dict(FuseConfig())
    c.data.update(source="assets:data/kitti02_stereo_color", width=0, hold_out=8, use_lidar=False)
    c.steps = 15_000
    c.save_every = 7500
    c.render.antialiased = False  # all cameras of the log have one scale; classic blending gives sharper images
    c.recon.update(budget=500_000, sh_degree=1)
    c.recon.density.update(start=500, stop=12_500, every=100)
    c.init.update(points=200_000, random_share=0.5, scale=0.1)
    c.schedule.update(start=3000, every=1500, meters=0.5, largest=2.0, sides=(1, -1), refresh=0)
    c.pseudo_view_capacity = 160
    c.pairs.update(every=2, steps=3000)
    c.self_fit.steps = 600
    c.evaluate.update(shifts=(-2.0, -1.0, 0.0, 1.0, 2.0), frames=20, video_width=2.0, video_frames=120)
    return c
