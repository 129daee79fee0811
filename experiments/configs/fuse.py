"""The demo: the synthetic street, one front camera, out to 3 m to the left; 640x384 pixels on a GPU, else 208x128.

python -m experiments.fuse --workdir=runs/demo
python -m experiments.fuse --workdir=runs/demo --config=experiments/configs/fuse.py:cpu    # the small one, anywhere

Expected (2 CPU cores, 4 min with compilation; five streets, 2026-11-28): PSNR at 3 m left 22.63 +- 0.81 dB of the
reconstruction and 24.26 +- 0.63 dB after fusing (`python -m experiments.studies.seeds --seeds=0,1,2,3,4`).
Expected (1x H200 shared with five other runs, 3 min 40 s with compilation; one street, 2026-12-01): 23.34 and 24.04 dB.
"""

import jax
import ml_collections

from experiments.cli.command_line import config_dict
from ff_jax.pipeline.config import demo_config


def get_config(device: str = "") -> ml_collections.ConfigDict:
    """Make the settings of the demo for a device, "gpu" or "cpu"; "" takes the one that JAX uses."""
    return config_dict(demo_config(is_large=(device or jax.default_backend()) == "gpu"))
