"""Train the small video fixer from scratch on clips of `make_pairs`, and write its weights.

python -m experiments.fixers.make_pairs --out=runs/clips --seeds=1000:1080 --clip=9
python -m experiments.fixers.train_eigent --clips=runs/clips --out=runs/eigent
python -m experiments.fixers.train_eigent --clips=runs/clips --out=runs/eigent --dtype=bfloat16 --minutes=8

Several processes, on one host or many, take the same command with --coordinator, --processes and --process (see
docs/tpu.md); the clips and OUT must be seen by all of them, and the first one writes the log and the weights.

Four phases: autoencoder, backbone, branch, decoder (see ff_jax/fixers/eigent/trainer.py). The same command goes on
from the last checkpoint. A copy of OUT/tiny.safetensors in ff_jax/fixers/eigent/weights/ is what
`fuse --config.fixer=eigent` uses.
"""

import contextlib
import dataclasses
import time
from pathlib import Path

import jax
import numpy as np
from absl import flags

from experiments.cli import command_line
from ff_jax.fixers import weights
from ff_jax.fixers.eigent import config as use
from ff_jax.fixers.eigent import trainer
from ff_jax.fixers.pair_files import as_clips, load, triples
from ff_jax.fixers.self_fit.crops import Triples
from ff_jax.metrics import lpips
from ff_jax.runtime.run_log import Logger

_DEFAULT = trainer.FitConfig()
_LISTED = lambda row: [str(value) for value in row]
_CLIPS = flags.DEFINE_string("clips", None, "Folder of `make_pairs`.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder of checkpoints, log and weights.", required=True)
_CONFIG = flags.DEFINE_enum("config", "tiny", ["tiny"], "Size of the networks.")
_STEPS = flags.DEFINE_list("steps", _LISTED(_DEFAULT.steps), "Steps of the phases.")
_BATCH = flags.DEFINE_list("batch", _LISTED(_DEFAULT.batch), "Clips per step in the phases.")
_LR = flags.DEFINE_list("lr", _LISTED(_DEFAULT.lr), "Largest learning rates of the phases.")
_CROP = flags.DEFINE_list("crop", _LISTED(_DEFAULT.crop), "Height and width of the autoencoder's crops, pixels.")
_MINUTES = flags.DEFINE_float("minutes", 0.0, "Stop at the first checkpoint after this long; 0: no limit.")
_LIMITS = flags.DEFINE_list("limits", _LISTED(_DEFAULT.limits), "Minutes after which each phase is over; 0: no limit.")
_SAVE = flags.DEFINE_integer("save_every", _DEFAULT.save_every, "Steps between checkpoints and checks.", lower_bound=1)
_HELD = flags.DEFINE_integer("held", 2, "Streets, the last ones, that only judge.", lower_bound=1)
_CHECKED = flags.DEFINE_integer("checked", 16, "Clips of them at most.", lower_bound=1)
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of the computation.")
_ATTENTION = flags.DEFINE_enum("attention", "", ["", "xla", "cudnn"], "Implementation; empty: cudnn where it works.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the first weights and all draws.")
_VGG = flags.DEFINE_string("vgg", "assets:weights/lpips/lpips_vgg.npz", "LPIPS with VGG16 for the last phase.")
_CONNECT = command_line.process_flags()


def perceptual() -> lpips.Lpips | None:
    """Return LPIPS with VGG16 if its weights are there."""
    try:
        return lpips.load(Path(command_line.log_path(_VGG.value)), "vgg")
    except ValueError as error:
        print(f"LPIPS is left out of the decoder's loss ({error})", flush=True)
        return None


def clips() -> tuple[Triples, Triples]:
    """Return the clips to train on and some to judge by, of other streets."""
    files, length = sorted(Path(_CLIPS.value).glob("street-*.npz")), use.tiny().frames
    if len(files) <= _HELD.value:
        raise ValueError(f"{_CLIPS.value} holds {len(files)} streets, --held={_HELD.value} judge: make more clips.")
    seen, held = (as_clips(triples(load(part)), length) for part in (files[: -_HELD.value], files[-_HELD.value :]))
    some = np.linspace(0, len(held.eigs) - 1, min(_CHECKED.value, len(held.eigs))).astype(int)
    print(f"{len(seen.eigs)} clips of {len(files) - _HELD.value} streets, {len(some)} held out", flush=True)
    return seen, jax.tree.map(lambda array: array[some], held)


def main(_: list[str]) -> None:
    """Train, or go on, and write the weights."""
    _CONNECT()
    out, settings = (
        Path(_OUT.value),
        trainer.FitConfig(
            seed=_SEED.value,
            steps=command_line.numbers(_STEPS, int),
            batch=command_line.numbers(_BATCH, int),
            lr=command_line.numbers(_LR),
            crop=command_line.numbers(_CROP, int),
            save_every=_SAVE.value,
            minutes=_MINUTES.value,
            limits=command_line.numbers(_LIMITS),
            attention=_ATTENTION.value or None,
        ),
    )
    config = dataclasses.replace(use.tiny(), dtype=_DTYPE.value)
    (seen, held), before = clips(), dict(zip(trainer.PHASES, np.cumsum([0, *settings.steps]), strict=False))
    began, first = time.monotonic(), jax.process_index() == 0
    begun = sum(settings.steps) if out.exists() else None
    with Logger(out, resume_step=begun) if first else contextlib.nullcontext() as logger:

        def log(phase: str, step: int, metrics: dict[str, float]) -> None:
            if not first:
                return
            named = {f"{phase}/{name}": value for name, value in metrics.items()}
            logger.log(int(before[phase]) + step, named)
            if any(name.startswith("held") for name in metrics):
                print(
                    f"[{time.monotonic() - began:.0f} s] {phase} {step}: "
                    + ", ".join(f"{n} {v:.3f}" for n, v in metrics.items()),
                    flush=True,
                )

        params = trainer.fit(out, seen, held, config, settings, perceptual(), log)
    if not first:
        return
    weights.save(out / "tiny.safetensors", params)
    size = (out / "tiny.safetensors").stat().st_size / 1e6
    print(f"{out / 'tiny.safetensors'}: {weights.count(params):,} parameters, {size:.1f} MB")


if __name__ == "__main__":
    command_line.run(main, "lower --batch or --crop, and start in another folder")
