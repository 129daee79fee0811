"""Train the small video fixer from scratch on clips of `make_pairs`, and write its weights.

python -m experiments.fixers.make_pairs --out=runs/clips --seeds=1000:1080 --clip=9
python -m experiments.fixers.train_eigent --clips=runs/clips --out=runs/eigent
python -m experiments.fixers.train_eigent --clips=runs/clips --out=runs/eigent --dtype=bfloat16 --minutes=8
python -m experiments.fixers.train_eigent --clips=runs/clips --out=runs/two_stage --references=repaired --dropout=0.1

Several processes, on one host or many, run the same command with --coordinator, --processes and --process (see
docs/tpu.md). All of them must see the clips and OUT; the first one writes the log and the weights.

There are four phases: autoencoder, backbone, branch, decoder (see ff_jax/fixers/eigent/trainer.py). The same command
continues from the last checkpoint. With --references=repaired the branch attends to the frames of the one-step fixer,
which are made first, and sees the re-projected recorded images beside the render (the form of the paper). The fixer
`eigent` uses the weights in ff_jax/fixers/eigent/weights/, of either form: copy OUT/tiny.safetensors there.
"""

import dataclasses
from pathlib import Path
from typing import cast

import jax
import numpy as np
from absl import flags
from jaxtyping import PyTree

from experiments.cli import command_line
from experiments.fixers import training
from experiments.fixers.streets import split_streets
from ff_jax.fixers.attention import Implementation
from ff_jax.fixers.eigent import trainer
from ff_jax.fixers.eigent.config import tiny, two_stage
from ff_jax.fixers.one_step import clips_with_repaired
from ff_jax.fixers.pair_files import as_clips, load, triples

_DEFAULT = trainer.EigentTrainConfig()


def _texts(values: tuple) -> list[str]:
    return [str(value) for value in values]


_CLIPS = flags.DEFINE_string("clips", None, "Folder of `make_pairs`.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder of checkpoints, log and weights.", required=True)
_STEPS = flags.DEFINE_list("steps", _texts(_DEFAULT.steps), "Steps of the phases.")
_BATCH = flags.DEFINE_list("batch", _texts(_DEFAULT.batch), "Clips per step in the phases.")
_LR = flags.DEFINE_list("lr", _texts(_DEFAULT.lr), "Peak learning rates of the phases.")
_CROP = flags.DEFINE_list("crop", _texts(_DEFAULT.crop), "Height and width of the autoencoder's crops, pixels.")
_MINUTES = flags.DEFINE_float(
    "minutes", 0.0, "Stop at the first checkpoint after this time; 0: no limit.", lower_bound=0.0, upper_bound=1e06
)
_LIMITS = flags.DEFINE_list("limits", _texts(_DEFAULT.limits), "Minutes after which each phase ends; 0: no limit.")
_SAVE = flags.DEFINE_integer(
    "save_every", _DEFAULT.save_every, "Steps between checkpoints and checks.", lower_bound=1, upper_bound=100_000_000
)
_HELD = flags.DEFINE_integer(
    "held", 2, "Number of validation streets, the last ones.", lower_bound=1, upper_bound=1_000_000
)
_MAX_VALIDATION = flags.DEFINE_integer(
    "max_validation", 16, "Largest number of validation clips.", lower_bound=1, upper_bound=1_000_000
)
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of the computation.")
_ATTENTION = flags.DEFINE_enum("attention", "", ["", "xla", "cudnn"], "Implementation; empty: cudnn where it works.")
_SEED = flags.DEFINE_integer(
    "seed", 0, "Of the initial weights and all random draws.", lower_bound=0, upper_bound=2_147_483_647
)
_REFERENCES = flags.DEFINE_enum(
    "references",
    "recorded",
    ["recorded", "repaired"],
    "What the branch attends to: recorded images, or repaired frames.",
)
_DROPOUT = flags.DEFINE_float(
    "dropout",
    _DEFAULT.objective.dropout,
    "Share of the samples whose EIG is hidden from the branch.",
    lower_bound=0.0,
    upper_bound=1.0,
)
_VGG = training.vgg_flag()
_CONNECT = command_line.process_flags()


def main(_: list[str]) -> None:
    """Train, or continue, and write the weights."""
    _CONNECT()
    settings = trainer.EigentTrainConfig(
        seed=_SEED.value,
        steps=command_line.parse_numbers(_STEPS, int),
        batch=command_line.parse_numbers(_BATCH, int),
        lr=command_line.parse_numbers(_LR),
        crop=command_line.parse_numbers(_CROP, int),
        save_every=_SAVE.value,
        minutes=_MINUTES.value,
        limits=command_line.parse_numbers(_LIMITS),
        attention=cast(Implementation | None, _ATTENTION.value or None),
        objective=dataclasses.replace(_DEFAULT.objective, dropout=_DROPOUT.value),
    )
    layout = two_stage() if _REFERENCES.value == "repaired" else tiny()
    config = dataclasses.replace(layout, dtype=_DTYPE.value)
    train_files, val_files = split_streets(_CLIPS.value, _HELD.value)
    clips, validation = (as_clips(triples(load(files)), config.frames) for files in (train_files, val_files))
    sample = np.linspace(0, len(validation.eigs) - 1, min(_MAX_VALIDATION.value, len(validation.eigs))).astype(int)
    validation = jax.tree.map(lambda array: array[sample], validation)
    if config.is_two_stage:
        clips, validation = (clips_with_repaired(part) for part in (clips, validation))
    print(f"{len(clips.eigs)} training clips of {len(train_files)} streets, {len(sample)} validation clips", flush=True)
    out, vgg = Path(_OUT.value), training.load_lpips(_VGG.value, "vgg")
    first_steps: dict[str, int] = dict(zip(trainer.PHASES, np.cumsum([0, *settings.steps]), strict=False))

    def train(log: training.Log) -> PyTree:
        def log_phase(phase: str, step: int, metrics: dict[str, float]) -> None:
            log(int(first_steps[phase]) + step, {f"{phase}/{name}": value for name, value in metrics.items()})

        return trainer.train(out, clips, validation, config, settings, vgg, log_phase, command_line.STOP)

    stored = training.stored_settings(settings, config, train_files, lpips=vgg is not None)
    training.train_and_save(out, sum(settings.steps), stored, train)


if __name__ == "__main__":
    command_line.run(main, training.MEMORY_ADVICE)
