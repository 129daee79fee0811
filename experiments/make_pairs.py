"""Degraded views of built-in streets with their truth, for training generators: one file of 20 MB per street.

python -m experiments.make_pairs --out=runs/pairs --seeds=1000:1080
python -m experiments.make_pairs --out=runs/pairs --seeds=1000:1080 --part=0/4     # one of four processes

Streets that are there already are left as they are. Streets 0 to 9 are for judging: train on 1000 and above.
"""

from absl import flags

from experiments import common
from experiments.streets import FRAMES, pair, settings
from ff_jax.generators.pair_files import save, shard_path
from ff_jax.train.log import progress
from ff_jax.train.street_pairs import build, training_plan

_OUT = flags.DEFINE_string("out", None, "Folder of the files.", required=True)
_SEEDS = flags.DEFINE_string("seeds", "1000:1080", "Streets, FIRST:STOP.")
_PART = flags.DEFINE_string("part", "0/1", "Which part of the streets: I/N is every N-th from the I-th.")


def main(_: list[str]) -> None:
    """Make the pairs of all streets that are missing."""
    config, part = settings(), pair(_PART.value, "/", "part")
    seeds = range(*pair(_SEEDS.value, ":", "seeds"))[part[0] :: max(part[1], 1)]
    missing = [seed for seed in seeds if not shard_path(_OUT.value, seed).is_file()]
    for seed in progress(missing, "streets"):
        save(shard_path(_OUT.value, seed), build(config, seed, training_plan(seed, FRAMES)))


if __name__ == "__main__":
    common.run(main)
