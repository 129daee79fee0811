"""Time Difix of PyTorch diffusers with random 16-bit weights, on a frame and its reference.

    python -m experiments.benchmarks.baselines.torch_difix --layout=published --compiled

Started by `experiments.benchmarks.difix --torch`; prints a line of JSON.
"""

import json
from importlib import metadata

import torch
from absl import app, flags

from experiments.benchmarks.baselines.difix_layouts import LAYOUTS
from experiments.benchmarks.baselines.difix_networks import networks, repair
from experiments.benchmarks.baselines.torch_timing import measure

_LAYOUT = flags.DEFINE_enum("layout", "published", list(LAYOUTS), "Size of the networks.")
_REPEATS = flags.DEFINE_integer("repeats", 10, "Number of timed calls.", lower_bound=1, upper_bound=1_000_000)
_COMPILED = flags.DEFINE_bool("compiled", False, "Use torch.compile.")


def main(_: list[str]) -> None:
    """Time the repair and print a line of JSON."""
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
        figures = measure(lambda: repair(original, images, text, config), _REPEATS.value, device)
    print(json.dumps({"torch": torch.__version__, "diffusers": metadata.version("diffusers"), "repair": figures}))


if __name__ == "__main__":
    app.run(main)
