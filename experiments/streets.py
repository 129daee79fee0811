"""The streets on which generators are trained and judged: their settings."""

import dataclasses

from experiments import common
from experiments.configs import fuse as world_config
from ff_jax.config import FuseConfig

FRAMES = 36  # time steps of a street


def settings() -> FuseConfig:
    """Return the demo's settings on longer streets."""
    config = common.to_config(world_config.get_config())
    return dataclasses.replace(config, data=dataclasses.replace(config.data, frames=FRAMES))
