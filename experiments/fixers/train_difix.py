"""Train the small image fixer from scratch on pairs of `make_pairs`, and write its weights.

python -m experiments.fixers.make_pairs --out=runs/pairs --seeds=1000:1080
python -m experiments.fixers.train_difix --pairs=runs/pairs --out=runs/difix
python -m experiments.fixers.train_difix --pairs=runs/pairs --out=runs/blind --untold=channels,modulation --steps=5000

Several processes, on one host or many, take the same command with --coordinator, --processes and --process (see
docs/tpu.md); the pairs and OUT must be seen by all of them, and the first one writes the log and the weights.

The same command goes on from the last checkpoint. A copy of OUT/tiny.safetensors in
ff_jax/fixers/difix/weights/ is what `fuse --config.fixer=difix` uses.
"""

import contextlib
import dataclasses
from pathlib import Path

import jax
import numpy as np
from absl import flags

from experiments.cli import command_line
from ff_jax.fixers import weights
from ff_jax.fixers.difix import tiny, trainer
from ff_jax.fixers.pair_files import REFERENCES, load, triples
from ff_jax.metrics import lpips
from ff_jax.runtime.run_log import Logger

_PAIRS = flags.DEFINE_string("pairs", None, "Folder of `make_pairs`.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder of checkpoints, log and weights.", required=True)
_CONFIG = flags.DEFINE_enum("config", "tiny", ["tiny"], "Size of the network.")
_STEPS = flags.DEFINE_integer("steps", 15_000, "Steps of the whole network.", lower_bound=1)
_VAE_STEPS = flags.DEFINE_integer("vae_steps", 1500, "Steps of the autoencoder before them.", lower_bound=0)
_BATCH = flags.DEFINE_integer("batch", 16, "Crops per step.", lower_bound=1)
_CROP = flags.DEFINE_list("crop", ["128", "128"], "Height and width of a crop, pixels.")
_LR = flags.DEFINE_float("lr", 8e-4, "Largest learning rate.", lower_bound=0.0)
_MINUTES = flags.DEFINE_float("minutes", 0.0, "Stop at the first checkpoint after this long; 0: no limit.")
_SAVE = flags.DEFINE_integer("save_every", 1000, "Steps between checkpoints and checks.", lower_bound=1)
_HELD = flags.DEFINE_integer("held", 4, "Streets, the last ones, that only judge.", lower_bound=1)
_REFERENCE = flags.DEFINE_enum("reference", "aligned", REFERENCES, "What the network sees beside the render.")
_UNTOLD = flags.DEFINE_list("untold", [], "What it is not told of EIG: channels, modulation.")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of the computation.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the first weights and all draws.")
_VGG = flags.DEFINE_string("vgg", "assets:weights/lpips/lpips_vgg.npz", "LPIPS with VGG16 for the perceptual loss.")
_CONNECT = command_line.process_flags()

_CHECKED = 96  # held-out pairs


def perceptual() -> lpips.Lpips | None:
    """Return LPIPS with VGG16 if its weights are there, and say which losses are used."""
    try:
        vgg = lpips.load(Path(command_line.log_path(_VGG.value)), "vgg")
    except ValueError as error:
        print(f"losses: squared error and EIG-weighted error; LPIPS and Gram are left out ({error})", flush=True)
        return None
    print("losses: squared error, EIG-weighted error, LPIPS with VGG16, and Gram where its weight is not 0", flush=True)
    return vgg


def main(_: list[str]) -> None:
    """Train, or go on, and write the weights."""
    _CONNECT()
    out, files = Path(_OUT.value), sorted(Path(_PAIRS.value).glob("street-*.npz"))
    if len(files) <= _HELD.value:
        raise ValueError(f"{_PAIRS.value} holds {len(files)} streets, --held={_HELD.value} judge: make more pairs.")
    train = triples(load(files[: -_HELD.value]), _REFERENCE.value)
    held = triples(load(files[-_HELD.value :]), _REFERENCE.value)
    some = np.linspace(0, len(held.eigs) - 1, min(_CHECKED, len(held.eigs))).astype(int)
    held = dataclasses.replace(held, **{name: array[some] for name, array in vars(held).items()})
    size = command_line.numbers(_CROP, int)
    if len(size) != 2:
        raise ValueError(f"--crop={','.join(_CROP.value)} is wrong: give height and width.")
    settings = trainer.FitConfig(
        seed=_SEED.value,
        vae_steps=_VAE_STEPS.value,
        steps=_STEPS.value,
        batch=_BATCH.value,
        crop=size,
        lr=_LR.value,
        untold=tuple(_UNTOLD.value),
        save_every=_SAVE.value,
        minutes=_MINUTES.value,
    )
    config = dataclasses.replace(tiny(), dtype=_DTYPE.value)
    print(f"{len(train.eigs)} pairs of {len(files) - _HELD.value} streets, {len(held.eigs)} held out", flush=True)
    first = jax.process_index() == 0
    begun = settings.vae_steps + settings.steps if out.exists() else None
    with Logger(out, resume_step=begun) if first else contextlib.nullcontext() as logger:

        def log(phase: str, step: int, metrics: dict[str, float]) -> None:
            if not first:
                return
            logger.log(step + settings.vae_steps * (phase == "fixer"), metrics)
            if "held_fixed" in metrics:
                shown = f"{metrics['held_render']:.2f} -> {metrics['held_fixed']:.2f} dB"
                print(f"step {step}: held-out streets {shown}", flush=True)

        network = trainer.fit(out, train, held, config, settings, perceptual(), log)
    if not first:
        return
    weights.save(out / "tiny.safetensors", network)
    size = (out / "tiny.safetensors").stat().st_size / 1e6
    print(f"{out / 'tiny.safetensors'}: {weights.count(network):,} parameters, {size:.1f} MB")


if __name__ == "__main__":
    command_line.run(main, "lower --batch or --crop, and start in another folder")
