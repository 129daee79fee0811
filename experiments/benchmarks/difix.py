"""Time the image fixer at its published size, beside the same network built from PyTorch diffusers.

python -m experiments.benchmarks.difix --torch                     # a frame of 576 x 1024 and its reference
python -m experiments.benchmarks.difix --torch --compile           # the baseline also through torch.compile
python -m experiments.benchmarks.difix --layout=tiny --torch       # seconds on a CPU

Weights are random and 16-bit. A call encodes frame and reference, runs the U-Net once on both and decodes the frame.
"""

import json

import jax
import jax.numpy as jnp
from absl import flags
from jaxtyping import Array, PyTree

from experiments.benchmarks.baselines.difix_layouts import LAYOUTS
from experiments.benchmarks.timing import measure, random_params, run_baseline
from experiments.cli import command_line
from ff_jax.fixers.difix import model

_LAYOUT = flags.DEFINE_enum("layout", "published", list(LAYOUTS), "Size of the networks.")
_REPEATS = flags.DEFINE_integer("repeats", 10, "Number of timed calls.", lower_bound=1, upper_bound=1_000_000)
_TORCH = flags.DEFINE_bool("torch", False, "Also time diffusers, if it and torch are installed.")
_COMPILE = flags.DEFINE_bool("compile", False, "Also time the baseline through torch.compile.")


def main(_: list[str]) -> None:
    """Time both and print a line of JSON for each."""
    config = LAYOUTS[_LAYOUT.value]
    shape, keys = (1, *config.size, 3), jax.random.split(jax.random.key(0), 3)
    frame, reference = (jax.random.uniform(key, shape, jnp.bfloat16) for key in keys[:2])
    eig = jax.random.uniform(keys[2], shape[:3], jnp.bfloat16)
    params = random_params(model.shapes(config))
    facts = {"device": jax.devices()[0].device_kind, "jax": jax.__version__, "size": config.size}

    def repair(params: PyTree, frame: Array, eig: Array | None, reference: Array) -> Array:
        return model.repair(params, frame, eig, reference, config)

    if _TORCH.value:
        _print_baseline(compiled=False)
    for name, eig_input in (("jax", None), ("jax with EIG", eig)):  # without EIG: the same work as the baseline
        figures = measure(repair, params, frame, eig_input, reference, repeats=_REPEATS.value)
        print(json.dumps({name: facts | figures}), flush=True)
    if _TORCH.value and _COMPILE.value:
        _print_baseline(compiled=True)


def _print_baseline(compiled: bool) -> None:
    arguments = {"layout": _LAYOUT.value, "repeats": _REPEATS.value, "compiled": compiled}
    figures = run_baseline("torch_difix", arguments)
    print(json.dumps({"torch.compile" if compiled else "torch eager": figures}), flush=True)


if __name__ == "__main__":
    command_line.run(main)
