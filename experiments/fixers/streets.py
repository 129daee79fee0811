"""The streets on which fixers are trained and evaluated: settings, files, and the split of the files."""

import dataclasses
from pathlib import Path

from ff_jax.pipeline.config import FuseConfig, demo_config

FRAMES = 36  # time steps of a street


def settings(width: int = 0) -> FuseConfig:
    """Make the demo's settings with longer streets, and with another width of the images if it is not 0."""
    config = demo_config()
    data = dataclasses.replace(config.data, frames=FRAMES)
    if width:
        data = dataclasses.replace(data, width=width, height=round(width * data.height / data.width))
    return dataclasses.replace(config, data=data)


def split_streets(folder: str, num_validation: int) -> tuple[list[Path], list[Path]]:
    """Split the files of `make_pairs` in a folder: the last `num_validation` streets are for validation.

    Raises:
        ValueError: no street is left for training.
    """
    files = sorted(Path(folder).glob("street-*.npz"))
    if len(files) <= num_validation:
        raise ValueError(
            f"--held={num_validation} validation streets requested but only {len(files)} are available in {folder}, "
            "one of them for training: make more with experiments.fixers.make_pairs."
        )
    return files[:-num_validation], files[-num_validation:]
