"""Difix of PyTorch diffusers with random 16-bit weights: a frame and its reference.

    python -m experiments.benchmarks.baselines.torch_difix --layout=published --compiled

Started by `experiments.benchmarks.difix --torch`; prints a line of JSON.
"""

import json

from absl import app, flags

from experiments.benchmarks.baselines.difix_layouts import LAYOUTS

from experiments.benchmarks.baselines.difix_networks import diffusers, networks, repair, torch  # isort: skip
from experiments.benchmarks.baselines.torch_timing import measure  # isort: skip

_LAYOUT = flags.DEFINE_enum("layout", "published", list(LAYOUTS), "Size of the networks.")
_REPEATS = flags.DEFINE_integer("repeats", 10, "Timed calls.")
_COMPILED = flags.DEFINE_bool("compiled", False, "Through torch.compile.")


def main(_: list[str]) -> None:
    """Time the repair."""
    config, device = LAYOUTS[_LAYOUT.value], "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device), torch.no_grad():
        original = networks(config)
        for module in original:
            module.to(memory_format=torch.channels_last)
        images = torch.randn(2, 3, *config.size).to(memory_format=torch.channels_last)
        text = torch.randn(1, config.unet.tokens, config.unet.context)
        if _COMPILED.value:
            original = original._replace(unet=torch.compile(original.unet))
        found = measure(lambda: repair(original, images, text, config), _REPEATS.value, device)
    print(json.dumps({"torch": torch.__version__, "diffusers": diffusers.__version__, "repair": found}))


if __name__ == "__main__":
    app.run(main)
