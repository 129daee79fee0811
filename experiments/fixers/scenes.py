"""How logs of real cameras are reconstructed to train fixers."""

import dataclasses

from ff_jax.data.config import DataConfig
from ff_jax.pipeline.config import FuseConfig, InitConfig
from ff_jax.train.config import ReconConfig
from ff_jax.train.densify.mcmc import DensityConfig
from ff_jax.train.shift_schedule import ShiftSchedule

STOPS = (300, 800, 1600)  # steps after which views are rendered
NUM_VIEWS = 24  # rendered at each of them


def settings(source: str, width: int) -> FuseConfig:
    """Make the settings of the reconstruction of a scene folder, scaled to `width` (0 keeps its size)."""
    density = DensityConfig(start=150, stop=1300, every=100, growth=1.1)
    return dataclasses.replace(
        FuseConfig(steps=STOPS[-1], pseudo_view_capacity=1, schedule=ShiftSchedule(start=STOPS[-1])),
        data=DataConfig(source=source, width=width),
        recon=ReconConfig(budget=200_000, sh_degree=1, sh_every=500, density=density),
        init=InitConfig(points=100_000, random_share=0.3, scale=0.3),
    )
