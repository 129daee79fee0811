"""Shared by the trainings of fixers: flags, the perceptual loss, the log and the weights file."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
from absl import flags
from jaxtyping import PyTree

from experiments.cli import command_line
from ff_jax.fixers import weights
from ff_jax.metrics import lpips
from ff_jax.runtime.run_facts import CONFIG, check_settings, write_run_facts
from ff_jax.runtime.run_lock import lock_run
from ff_jax.runtime.run_log import Logger

MEMORY_ADVICE = "lower --batch or --crop, and start in another folder"
_FREE = ("minutes", "limits", "save_every")  # settings that may change when a training is continued
Log = Callable[[int, dict[str, float]], None]  # finished steps, metrics

flags.disclaim_key_flags()


def vgg_flag() -> flags.FlagHolder[str]:
    """Define --vgg."""
    return flags.DEFINE_string("vgg", "assets:weights/lpips/lpips_vgg.npz", "LPIPS with VGG16, for the loss.")


def load_lpips(path: str, net: str) -> lpips.Lpips | None:
    """Load LPIPS with a network ("vgg" or "alex"), or print that the loss does without it."""
    try:
        return lpips.load(Path(command_line.log_path(path)), net)
    except ValueError as error:
        print(f"the loss does without LPIPS ({error})", flush=True)
        return None


def train_and_save(out: Path, num_steps: int, settings: dict[str, Any], train: Callable[[Log], PyTree]) -> None:
    """Run a training and write its weights to OUT/tiny.safetensors; the first process writes log and weights.

    Args:
        out: folder of checkpoints, log and weights, locked meanwhile; a training there is continued.
        num_steps: number of steps of the whole training.
        settings: all that the result depends on, as JSON values.
        train: takes log(step, metrics) and returns the parameters.

    Raises:
        ValueError: the folder is in use, or holds a training with other settings.
    """
    is_first = jax.process_index() == 0
    with contextlib.ExitStack() as stack:
        logger = None
        if is_first:
            stack.enter_context(lock_run(out))
            check_settings(out, settings, resume=True, free=_FREE)
            resume_step = num_steps if (out / CONFIG).exists() else None
            write_run_facts(out, settings)
            logger = stack.enter_context(Logger(out, resume_step=resume_step))

        def log(step: int, metrics: dict[str, float]) -> None:
            if logger is None:
                return
            logger.log(step, metrics)
            if any("val_" in name or "psnr_" in name for name in metrics):
                print(
                    f"step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in metrics.items()), flush=True
                )

        params = train(log)
        if not is_first:
            return
        path = out / "tiny.safetensors"
        weights.save(path, params)
    print(f"{path}: {weights.num_params(params):,} parameters, {path.stat().st_size / 1e6:.1f} MB")


def stored_settings(settings: Any, network: Any, files: Sequence[Path], **others: Any) -> dict[str, Any]:
    """Collect all that the result of a training depends on.

    Args:
        settings: dataclass of the training.
        network: dataclass of the network.
        files: the training data; their names and sizes are part of it.
        others: further values.
    """
    data = [[path.name, path.stat().st_size] for path in files]
    return asdict(settings) | {"network": asdict(network), "data": data} | others
