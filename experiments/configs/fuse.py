"""The demo: the built-in street, one front camera, 3 m to the left, on a CPU in minutes.

python -m experiments.fuse --workdir=runs/demo
"""

import ml_collections

from experiments.cli.command_line import config_dict
from ff_jax.pipeline.config import FuseConfig


def get_config() -> ml_collections.ConfigDict:
    """Return the settings of the demo."""
    c = config_dict(FuseConfig())
    c.data.frames = 14
    c.steps = 1300
    c.save_every = 500
    c.render.antialiased = False
    c.recon.update(budget=16_000, sh_degree=1, sh_every=400)
    c.recon.density.update(start=150, stop=1000, every=50)
    c.init.update(points=8_000, scale=0.35)
    c.schedule.update(start=300, every=200, metres=1.0, largest=3.0, sides=(1,), refresh=600)
    c.fixer = "difix"  # trained on other streets of this world; logs of real cameras keep `self_fit`
    c.pool = 42
    c.eig.update(kappa=0.1, floor=0.2)
    c.thin.update(every=2, steps=400)
    c.evaluate.update(shifts=(0.0, 1.0, 2.0, 3.0), frames=6, video_width=3.0, video_frames=48, fps=16)
    return c
