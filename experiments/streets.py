"""The streets on which generators are trained and judged: their settings, and ranges of them in flags."""

import dataclasses

from experiments import common
from experiments.configs import fuse as world_config
from ff_jax.config import FuseConfig

FRAMES = 36  # time steps of a street


def settings() -> FuseConfig:
    """Return the demo's settings on longer streets."""
    config = common.to_config(world_config.get_config())
    return dataclasses.replace(config, data=dataclasses.replace(config.data, frames=FRAMES))


def pair(text: str, mark: str, flag: str) -> tuple[int, int]:
    """Return the two whole numbers around `mark`.

    Raises:
        ValueError: there are no two.
    """
    first, _, second = text.partition(mark)
    if not (first.isdecimal() and second.isdecimal()):
        raise ValueError(f"--{flag}={text!r} is wrong: give two whole numbers, such as 4{mark}8.")
    return int(first), int(second)
