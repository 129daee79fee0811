r"""Train the network of `reference_unet` on pairs of `make_pairs`, and write its weights.

for scene in boof_ditch boof_stonesign pandaset002_6cam mapillary_london_bike; do   # and the other scenes
    python -m experiments.fixers.make_pairs --out=runs/real/$scene --scene=assets:data/real_views/$scene --width=640
done
python -m experiments.fixers.make_pairs --out=runs/real/streets --seeds=1000:1010 --width=416
python -m experiments.fixers.train_reference_unet --pairs=runs/real --validation=mapillary_london_bike --out=runs/unet

--pairs is a folder with a folder of pairs for each log; the one called --validation is not trained on and chooses the
checkpoint. OUT/tiny.safetensors is that checkpoint, OUT/last.safetensors the last one. `fuse --config.fixer=
reference_unet` uses the weights in ff_jax/fixers/reference_unet/weights/: copy OUT/tiny.safetensors there. --start
begins with a file of weights, for example with another weight of LPIPS. The same command continues from the last
checkpoint, of which there is one for every check.
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np
from absl import flags
from jaxtyping import PyTree

from experiments.cli import command_line
from experiments.fixers import training
from ff_jax.fixers import weights
from ff_jax.fixers.pair_files import load, triples
from ff_jax.fixers.reference_unet import fixer, model, trainer
from ff_jax.fixers.reference_unet.config import ReferenceUnetConfig, TrainSettings, tiny
from ff_jax.fixers.triples import Triples

_PAIRS = flags.DEFINE_string("pairs", None, "Folder with a folder of pairs for each log.", required=True)
_VALIDATION = flags.DEFINE_string("validation", None, "Name of the folder that chooses the checkpoint.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder of log and weights.", required=True)
_START = flags.DEFINE_string("start", "", "Weights to start from; empty starts from the identity.")
_STEPS = flags.DEFINE_integer("steps", 20_000, "Steps.", lower_bound=1, upper_bound=100_000_000)
_MINUTES = flags.DEFINE_float("minutes", 0.0, "Stop after this time; 0: no limit.", lower_bound=0.0, upper_bound=1e6)
_BATCH = flags.DEFINE_integer("batch", 16, "Crops per step.", lower_bound=1, upper_bound=65_536)
_CROP = flags.DEFINE_list("crop", ["224", "288"], "Height and width of a crop, pixels.")
_LR = flags.DEFINE_float("lr", 1e-3, "Peak learning rate.", lower_bound=0.0, upper_bound=10.0)
_LPIPS_WEIGHT = flags.DEFINE_float("lpips_weight", 0.1, "Of LPIPS in the loss.", lower_bound=0.0, upper_bound=1e6)
_LPIPS = flags.DEFINE_string("lpips", "assets:weights/lpips/lpips_alexnet.npz", "LPIPS with AlexNet.")
_CHECK = flags.DEFINE_integer("check_every", 1000, "Steps between checks.", lower_bound=1, upper_bound=100_000_000)
_MAX_VALIDATION = flags.DEFINE_integer("max_validation", 24, "Validation pairs.", lower_bound=1, upper_bound=1_000_000)
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of the computation.")
_SEED = flags.DEFINE_integer("seed", 0, "Of all random draws.", lower_bound=0, upper_bound=2**31 - 1)


def load_pairs(folder: Path) -> Triples:
    """Load all pairs of a log, in small types."""
    return triples(load(sorted(folder.glob("*.npz"))), "separate")


def start_network(config: ReferenceUnetConfig) -> PyTree:
    """Read the weights of --start, or draw those of the identity."""
    if _START.value:
        return weights.load(_START.value, model.shapes(config), "--start")
    return fixer.init_params(jax.random.key(_SEED.value), config)["network"]


def settings_of_flags() -> tuple[ReferenceUnetConfig, TrainSettings]:
    """Make the settings of network and training."""
    size = command_line.parse_numbers(_CROP, int)
    if len(size) != 2:
        raise ValueError(f"invalid --crop={','.join(_CROP.value)}: expected height and width, such as 224,288.")
    settings = TrainSettings(
        steps=_STEPS.value,
        batch=_BATCH.value,
        crop=size,
        lr=_LR.value,
        warmup=200,
        ema=0.998,
        lpips=_LPIPS_WEIGHT.value,
        is_augmented=True,
    )
    return dataclasses.replace(tiny(), dtype=_DTYPE.value), settings


def sampled(pairs: Triples, count: int) -> Triples:
    """Select `count` pairs, evenly spaced."""
    places = np.linspace(0, len(pairs.eigs) - 1, min(count, len(pairs.eigs))).round().astype(int)
    return jax.tree.map(lambda array: array[places], pairs)


def main(_: list[str]) -> None:
    """Train, and write the weights."""
    folders = sorted(path for path in Path(_PAIRS.value).iterdir() if any(path.glob("*.npz")))
    if _VALIDATION.value not in [path.name for path in folders] or len(folders) < 2:
        raise ValueError(
            f"invalid --validation={_VALIDATION.value}: expected one of at least two folders of pairs in "
            f"{_PAIRS.value}, which has {', '.join(path.name for path in folders) or 'none'}."
        )
    (config, settings), out = settings_of_flags(), Path(_OUT.value)
    logs = [load_pairs(path) for path in folders if path.name != _VALIDATION.value]
    validation = sampled(load_pairs(Path(_PAIRS.value) / _VALIDATION.value), _MAX_VALIDATION.value)
    print(f"{sum(len(log.eigs) for log in logs)} pairs of {len(logs)} logs, {len(validation.eigs)} validation pairs")
    perceptual = training.load_lpips(_LPIPS.value, "alex")
    schedule = trainer.Schedule(_MINUTES.value, _CHECK.value, _SEED.value, out / "checkpoints", command_line.STOP)
    files = [path for folder in folders for path in sorted(folder.glob("*.npz"))]
    stored = training.stored_settings(
        settings, config, files, validation=_VALIDATION.value, num_validation=_MAX_VALIDATION.value, seed=_SEED.value,
        start=_START.value, check_every=_CHECK.value, perceptual=perceptual is not None, minutes=_MINUTES.value,
    )  # fmt: skip

    def train(log: training.Log) -> PyTree:
        best, last = trainer.train(
            start_network(config), logs, [validation], config, settings, schedule, perceptual, log
        )
        weights.save(out / "last.safetensors", last)
        return best

    training.train_and_save(out, settings.steps, stored, train)


if __name__ == "__main__":
    command_line.run(main, training.MEMORY_ADVICE)
