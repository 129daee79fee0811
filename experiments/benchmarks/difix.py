"""The image fixer at its published size, beside PyTorch diffusers' networks doing the same in one run.

python -m experiments.benchmarks.difix --torch                     # a frame of 576 x 1024 and its reference
python -m experiments.benchmarks.difix --torch --compile           # the peer through torch.compile as well
python -m experiments.benchmarks.difix --layout=tiny --torch       # seconds on a CPU

Weights are random and 16-bit. A call encodes frame and reference, runs the U-Net once on both and decodes the frame.
"""

import json

import jax
import jax.numpy as jnp
from absl import flags

from experiments.benchmarks.baselines.difix_layouts import LAYOUTS
from experiments.benchmarks.timing import measure, peer, random_params
from experiments.cli import command_line
from ff_jax.fixers.difix import model

_LAYOUT = flags.DEFINE_enum("layout", "published", list(LAYOUTS), "Size of the networks.")
_REPEATS = flags.DEFINE_integer("repeats", 10, "Timed calls.", lower_bound=1)
_TORCH = flags.DEFINE_bool("torch", False, "Also time diffusers, if it and torch are there.")
_COMPILE = flags.DEFINE_bool("compile", False, "Also through torch.compile.")


def main(_: list[str]) -> None:
    """Time both and print a line of JSON for each."""
    config = LAYOUTS[_LAYOUT.value]
    shape, keys = (1, *config.size, 3), jax.random.split(jax.random.key(0), 3)
    frame, reference = (jax.random.uniform(key, shape, jnp.bfloat16) for key in keys[:2])
    eig = jax.random.uniform(keys[2], shape[:3], jnp.bfloat16)
    params = random_params(model.shapes(config))
    repair = lambda params, *given: model.repair(params, *given, config)
    about = {"device": jax.devices()[0].device_kind, "jax": jax.__version__, "size": config.size}
    if _TORCH.value:
        _peer(compiled=False)
    for name, told in (("jax", None), ("jax with EIG", eig)):  # plain Difix, as the peer is, and with EIG told
        found = measure(repair, params, frame, told, reference, repeats=_REPEATS.value)
        print(json.dumps({name: about | found}), flush=True)
    if _TORCH.value and _COMPILE.value:
        _peer(compiled=True)


def _peer(compiled: bool) -> None:
    found = peer("torch_difix", {"layout": _LAYOUT.value, "repeats": _REPEATS.value, "compiled": compiled})
    print(json.dumps({"torch.compile" if compiled else "torch eager": found}), flush=True)


if __name__ == "__main__":
    command_line.run(main)
