"""Train the small image fixer from scratch on pairs of `make_pairs`, and write its weights.

python -m experiments.fixers.make_pairs --out=runs/pairs --seeds=1000:1080
python -m experiments.fixers.train_difix --pairs=runs/pairs --out=runs/difix
python -m experiments.fixers.train_difix --pairs=runs/pairs --out=runs/no_eig --drop_eig=channels,modulation

Several processes, on one host or many, run the same command with --coordinator, --processes and --process (see
docs/tpu.md). All of them must see the pairs and OUT; the first one writes the log and the weights.

The same command continues from the last checkpoint. `fuse --config.fixer=difix` uses the weights in
ff_jax/fixers/difix/weights/: copy OUT/tiny.safetensors there.
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np
from absl import flags
from jaxtyping import PyTree

from experiments.cli import command_line
from experiments.fixers import training
from experiments.fixers.streets import split_streets
from ff_jax.fixers.difix import trainer
from ff_jax.fixers.difix.config import tiny
from ff_jax.fixers.pair_files import REFERENCES, load, triples

_PAIRS = flags.DEFINE_string("pairs", None, "Folder of `make_pairs`.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder of checkpoints, log and weights.", required=True)
_STEPS = flags.DEFINE_integer("steps", 15_000, "Steps of the whole network.", lower_bound=1, upper_bound=100_000_000)
_VAE_STEPS = flags.DEFINE_integer(
    "vae_steps", 1500, "Steps of the autoencoder before them.", lower_bound=0, upper_bound=100_000_000
)
_BATCH = flags.DEFINE_integer("batch", 16, "Crops per step.", lower_bound=1, upper_bound=65_536)
_CROP = flags.DEFINE_list("crop", ["128", "128"], "Height and width of a crop, pixels.")
_LR = flags.DEFINE_float("lr", 8e-4, "Peak learning rate.", lower_bound=0.0, upper_bound=10.0)
_MINUTES = flags.DEFINE_float(
    "minutes", 0.0, "Stop at the first checkpoint after this time; 0: no limit.", lower_bound=0.0, upper_bound=1e06
)
_SAVE = flags.DEFINE_integer(
    "save_every", 1000, "Steps between checkpoints and checks.", lower_bound=1, upper_bound=100_000_000
)
_HELD = flags.DEFINE_integer(
    "held", 4, "Number of validation streets, the last ones.", lower_bound=1, upper_bound=1_000_000
)
_REFERENCE = flags.DEFINE_enum("reference", "aligned", REFERENCES, "Reference that the network sees.")
_DROP_EIG = flags.DEFINE_list("drop_eig", [], "EIG inputs to train without: channels, modulation.")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of the computation.")
_SEED = flags.DEFINE_integer(
    "seed", 0, "Of the initial weights and all random draws.", lower_bound=0, upper_bound=2_147_483_647
)
_VGG = training.vgg_flag()
_CONNECT = command_line.process_flags()

_MAX_VALIDATION = 96  # pairs


def main(_: list[str]) -> None:
    """Train, or continue, and write the weights."""
    _CONNECT()
    train_files, val_files = split_streets(_PAIRS.value, _HELD.value)
    train_pairs, validation = (triples(load(files), _REFERENCE.value) for files in (train_files, val_files))
    sample = np.linspace(0, len(validation.eigs) - 1, min(_MAX_VALIDATION, len(validation.eigs))).astype(int)
    validation = jax.tree.map(lambda array: array[sample], validation)
    size = command_line.parse_numbers(_CROP, int)
    if len(size) != 2:
        raise ValueError(f"invalid --crop={','.join(_CROP.value)}: expected height and width, such as 128,128.")
    settings = trainer.DifixTrainConfig(
        seed=_SEED.value,
        vae_steps=_VAE_STEPS.value,
        steps=_STEPS.value,
        batch=_BATCH.value,
        crop=size,
        lr=_LR.value,
        drop_eig=tuple(_DROP_EIG.value),
        save_every=_SAVE.value,
        minutes=_MINUTES.value,
    )
    config = dataclasses.replace(tiny(), dtype=_DTYPE.value)
    print(f"{len(train_pairs.eigs)} training pairs of {len(train_files)} streets, {len(sample)} validation pairs")
    out, vgg = Path(_OUT.value), training.load_lpips(_VGG.value, "vgg")

    def train(log: training.Log) -> PyTree:
        def log_phase(phase: str, step: int, metrics: dict[str, float]) -> None:
            log(step + settings.vae_steps * (phase == "fixer"), metrics)

        return trainer.train(out, train_pairs, validation, config, settings, vgg, log_phase, command_line.STOP)

    stored = training.stored_settings(settings, config, train_files, reference=_REFERENCE.value, lpips=vgg is not None)
    training.train_and_save(out, settings.vae_steps + settings.steps, stored, train)


if __name__ == "__main__":
    command_line.run(main, training.MEMORY_ADVICE)
