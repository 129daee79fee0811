"""Runs of the main job for several seeds, each in a folder of its own; finished ones are kept."""

import dataclasses
from pathlib import Path

from ff_jax.data.open import open_log
from ff_jax.pipeline.config import FuseConfig, to_dict
from ff_jax.pipeline.fuse import fuse
from ff_jax.runtime.run_facts import check_settings


def fused_run(config: FuseConfig, seed: int, workdir: Path) -> Path:
    """Run the main job with a seed, unless it is finished; return its folder.

    Args:
        config: the settings; `seed` replaces their seeds, that of the synthetic street too.
        seed: the seed.
        workdir: folder of the folders `seed0`, `seed1` and so on.

    Raises:
        ValueError: the folder holds a run of other settings.
    """
    config = dataclasses.replace(config, seed=seed, data=dataclasses.replace(config.data, seed=seed))
    folder = workdir / f"seed{seed}"
    check_settings(folder, to_dict(config), resume=True)
    if not (folder / "results" / "metrics.json").is_file():
        fuse(config, open_log(config.data, config.evaluate.shifts), folder, resume=folder.exists())
    return folder
