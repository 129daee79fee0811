"""Training steps per second with a million Gaussians at 960x640, of this program and of gsplat; quality is ignored.

python -m experiments.reconstruct --config=experiments/configs/speed.py --workdir=runs/speed
python -m experiments.benchmarks.baselines.gsplat_mcmc --config=experiments/configs/speed.py --out=runs/gsplat.json

Both run render, losses, gradient, Adam of all parameters and MCMC density control, with the full number of Gaussians
from the first step. The first command logs steps per second to runs/speed/recon/metrics.jsonl. Hardware: one GPU.
"""

import ml_collections

from experiments.cli.command_line import config_dict
from ff_jax.pipeline.config import FuseConfig


def get_config() -> ml_collections.ConfigDict:
    """Build the settings of the comparison."""
    c = config_dict(FuseConfig())
    c.data.update(width=960, height=640, frames=8)
    c.steps = 2000
    c.save_every = 2000
    c.recon.update(budget=1_000_000, sh_every=1)
    c.recon.density.update(start=100, stop=2000, every=100)
    c.init.update(points=1_000_000, random_share=0.9)
    c.schedule.update(start=2000)
    c.evaluate.update(shifts=(0.0,), frames=1, video_frames=2)
    return c
