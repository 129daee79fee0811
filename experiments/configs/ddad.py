"""A rig of six cameras with LiDAR and boxes, three time steps, scaled to 968 pixels.

python -m experiments.reconstruct --config=experiments/configs/ddad.py --workdir=runs/ddad
"""

import ml_collections

from experiments.common import config_dict
from ff_jax.config import FuseConfig


def get_config() -> ml_collections.ConfigDict:
    """Return the settings for ddad_dgp_6cam."""
    c = config_dict(FuseConfig())
    c.data.update(source="assets:data/ddad_dgp_6cam", width=968, hold_out=3)
    c.steps = 5000
    c.save_every = 2500
    c.recon.update(budget=300_000, sh_degree=1)
    c.recon.density.update(start=500, stop=4000, every=100)
    c.init.update(points=150_000, random_share=0.2, scale=0.1)
    c.schedule.update(start=2500, every=1000, largest=2.0, sides=(1, -1), refresh=0)
    c.evaluate.update(shifts=(0.0, 1.0), frames=12, video_width=1.0, video_frames=48)
    return c
