"""The entry points that train fixers, with the smallest networks: the first argument of `main` selects one."""

import dataclasses
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ff_jax.fixers.difix.config import DifixConfig, ImageVaeConfig, UNetConfig
from ff_jax.fixers.eigent.config import EigentConfig
from ff_jax.fixers.eigent.network_config import DitConfig, VideoVaeConfig
from ff_jax.fixers.pair_files import Pairs, save, shard_path
from ff_jax.fixers.reference_unet.config import ReferenceUnetConfig


def small_difix() -> DifixConfig:
    """Make the smallest network with all parts of `difix`."""
    unet = UNetConfig(channels=(32, 64), heads=(2, 4), layers=1, context=24, tokens=5)
    vae = ImageVaeConfig(channels=(16, 32), layers=1, groups=8, rank=2, alpha=3.0)
    return DifixConfig(
        unet=unet, vae=vae, size=(64, 64), tile=(64, 64), overlap=8, eig_scale=0.7, chunk=2, dtype="float32"
    )


def _aligned_difix() -> DifixConfig:
    return dataclasses.replace(small_difix(), use_aligned_references=True)


def small_eigent() -> EigentConfig:
    """Make the smallest networks with all parts of `eigent`."""
    dit = DitConfig(
        depth=2, heads=1, head_dim=16, in_channels=6, out_channels=3, text_dim=4, text_length=1, time_dim=8,
        sample=(3, 4, 4),
    )  # fmt: skip
    vae = VideoVaeConfig(
        widths=(4, 4, 4), latent_channels=3, layers=1, groups=2, scale=1.0, tile=(64, 64), overlap=(8, 8),
        out_channels=4,
    )  # fmt: skip
    return EigentConfig(
        dit=dit, vae=vae, blocks=1, has_detail_decoder=True, use_aligned_references=True, num_context_frames=2,
        frames=9, steps=2, solver="ddim", strength=0.6, size=(16, 16), dtype="float32",
    )  # fmt: skip


def small_reference_unet() -> ReferenceUnetConfig:
    """Make a network of `reference_unet` with two resolutions."""
    return ReferenceUnetConfig(widths=(4, 4), num_references=2)


class Training(NamedTuple):
    """An entry point with its smallest network and flags."""

    module: str
    config: Callable[[], Any]
    data: str  # the flag of its pairs
    flags: tuple[str, ...]


TRAININGS = {
    "difix": Training(
        "experiments.fixers.train_difix", _aligned_difix, "pairs",
        ("--vae_steps=4", "--steps=6", "--batch=2", "--crop=8,8", "--save_every=2", "--held=1", "--vgg=none.npz"),
    ),
    "eigent": Training(
        "experiments.fixers.train_eigent", small_eigent, "clips",
        (
            "--steps=4,4,4,4", "--batch=2,2,2,2", "--crop=8,8", "--save_every=2", "--held=1", "--vgg=none.npz",
            "--attention=xla",
        ),
    ),
    "reference_unet": Training(
        "experiments.fixers.train_reference_unet", small_reference_unet, "pairs",
        (
            "--validation=b", "--steps=9", "--batch=2", "--crop=24,24", "--check_every=3", "--max_validation=2",
            "--lpips=none.npz",
        ),
    ),
}  # fmt: skip


def flags(name: str, pairs: Path) -> list[str]:
    """Build the flags of a short training."""
    return [f"--{TRAININGS[name].data}={pairs}", *TRAININGS[name].flags]


def write_pairs(folder: Path, name: str) -> None:
    """Write the pairs of a training once: those of two streets, or of two logs in folders of their own."""
    if not folder.exists():
        if name == "reference_unet":
            for number, log in enumerate("ab"):
                write_views(folder / log, (24, 24), np.random.default_rng(number))
        else:
            write_views(folder, (16, 16), np.random.default_rng(0))


def write_views(folder: Path, size: tuple[int, int], rng: np.random.Generator) -> None:
    """Write two streets of one clip, or of 9 single views, with random contents."""
    for seed in range(2):
        other = {name: rng.random((9, *size)).astype(np.float16) for name in ("eig", "depth")}
        poses = {"K": np.ones((9, 3, 3), np.float32), "world_from_camera": np.ones((9, 4, 4))}
        numbers = {"shift": np.ones(9, np.float32), "steps": np.ones(9, np.int32)}
        images = {name: rng.integers(0, 256, (9, *size, 3), np.uint8) for name in ("render", "truth", "nearest")}
        images |= {
            "separate": rng.integers(0, 256, (9, 2, *size, 4), np.uint8),
            "weight": rng.integers(0, 256, (9, *size), np.uint8),
        }
        save(shard_path(folder, seed), Pairs(**images, **other, **poses, **numbers))


def main() -> None:
    """Run the entry point of the first argument."""
    training = TRAININGS[sys.argv.pop(1)]
    jax.config.update("jax_disable_most_optimizations", True)  # these steps take much longer to compile than to run
    config = training.config()
    program = importlib.import_module(training.module)
    program.tiny = lambda: config  # type: ignore[attr-defined]
    program.command_line.run(program.main)
