"""Shared by the trainings of fixers: flags, the perceptual loss, the log and the weights file."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import jax
from absl import flags
from jaxtyping import PyTree

from experiments.cli import command_line
from ff_jax.fixers import weights
from ff_jax.metrics import lpips
from ff_jax.runtime.run_log import Logger

MEMORY_ADVICE = "lower --batch or --crop, and start in another folder"
Log = Callable[[int, dict[str, float]], None]  # finished steps, metrics

flags.disclaim_key_flags()


def vgg_flag() -> flags.FlagHolder[str]:
    """Define --vgg."""
    return flags.DEFINE_string("vgg", "assets:weights/lpips/lpips_vgg.npz", "LPIPS with VGG16, for the loss.")


def load_vgg(path: str) -> lpips.Lpips | None:
    """Load LPIPS with VGG16, or print that the loss does without it."""
    try:
        return lpips.load(Path(command_line.log_path(path)), "vgg")
    except ValueError as error:
        print(f"the loss does without LPIPS ({error})", flush=True)
        return None


def train_and_save(out: Path, num_steps: int, train: Callable[[Log], PyTree]) -> None:
    """Run a training and write its weights to OUT/tiny.safetensors; the first process writes log and weights.

    Args:
        out: folder of checkpoints, log and weights; a training there is continued.
        num_steps: number of steps of the whole training.
        train: takes log(step, metrics) and returns the parameters.
    """
    is_first, resume_step = jax.process_index() == 0, num_steps if out.exists() else None
    with Logger(out, resume_step=resume_step) if is_first else contextlib.nullcontext() as logger:

        def log(step: int, metrics: dict[str, float]) -> None:
            if logger is None:
                return
            logger.log(step, metrics)
            if any("val_" in name for name in metrics):
                print(
                    f"step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in metrics.items()), flush=True
                )

        params = train(log)
    if is_first:
        path = out / "tiny.safetensors"
        weights.save(path, params)
        print(f"{path}: {weights.num_params(params):,} parameters, {path.stat().st_size / 1e6:.1f} MB")
