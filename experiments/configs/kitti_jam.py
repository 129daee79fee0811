r"""KITTI with LiDAR, 46 frames of creeping traffic: LiDAR initialization and depth loss.

python -m experiments.prepare --source=assets:data/kitti_jam_color_lidar --out=runs/jam_log --sky=color
python -m experiments.reconstruct --config=experiments/configs/kitti_jam.py --workdir=runs/kitti_jam \
    --config.data.source=runs/jam_log

The first command adds sky masks; it may be left out together with --config.data.source. The log has no boxes: moving
objects are treated as static. Hardware: one GPU with 16 GB.
"""

import ml_collections

from experiments.cli.command_line import config_dict
from ff_jax.pipeline.config import FuseConfig


def get_config() -> ml_collections.ConfigDict:
    """Build the settings for kitti_jam_color_lidar."""
    c = config_dict(FuseConfig())
    c.data.update(source="assets:data/kitti_jam_color_lidar", width=0, hold_out=8)
    c.steps = 8000
    c.save_every = 2000
    c.recon.update(budget=400_000, sh_degree=1)
    c.recon.loss.depth = 0.2
    c.recon.density.update(start=500, stop=6500, every=100)
    c.init.update(points=200_000, random_share=0.2, scale=0.1)
    c.schedule.update(start=4000, every=1000, largest=2.0, sides=(1, -1), refresh=0)
    c.evaluate.update(shifts=(0.0, 1.0, 2.0), frames=20, video_width=2.0, video_frames=96)
    return c
