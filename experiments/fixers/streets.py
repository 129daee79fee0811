"""The streets on which generators are trained and judged: their settings."""

import dataclasses

from experiments.configs import fuse as world_config
from ff_jax.pipeline.config import FuseConfig

FRAMES = 36  # time steps of a street


def settings() -> FuseConfig:
    """Return the demo's settings on longer streets."""
    config = flags.to_config(world_config.get_config())
    return dataclasses.replace(config, data=dataclasses.replace(config.data, frames=FRAMES))
