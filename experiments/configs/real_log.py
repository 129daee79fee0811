"""Settings for logs of real cameras, chosen without any log that is a test.

python -m experiments.fuse --config=experiments/configs/real_log.py --config.data.source=path/to/log --workdir=runs/mine
"""

import ml_collections

from experiments.cli.command_line import config_dict
from ff_jax.pipeline.config import FuseConfig


def get_config() -> ml_collections.ConfigDict:
    """Build the settings; `data.source` is the log."""
    c = config_dict(FuseConfig())
    c.data.update(width=0, hold_out=8)
    c.steps = 15_000
    c.save_every = 7500
    c.render.antialiased = False  # cameras of one scale; classic blending gives sharper images
    c.recon.update(budget=500_000, sh_degree=1)
    c.recon.density.update(start=500, stop=12_500, every=100)
    c.init.update(points=200_000, random_share=0.5, scale=0.1)
    c.schedule.update(start=3000, every=3000, meters=1.0, largest=2.0, sides=(1, -1), refresh=3000)
    c.pseudo_view_capacity = 160
    c.pairs.update(every=2, steps=3000)
    c.self_fit.update(steps=600, batch=8, crop=(256, 320))
    c.evaluate.update(shifts=(-2.0, -1.0, 0.0, 1.0, 2.0), frames=20, video_width=2.0, video_frames=120)
    return c
