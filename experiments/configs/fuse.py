"""The demo: the synthetic street, one front camera, out to 3 m to the left.

python -m experiments.fuse --workdir=runs/demo

Expected (2 CPU cores, 4 min with compilation; five streets, 2026-11-28): PSNR at 3 m left 22.63 +- 0.81 dB of the
reconstruction and 24.26 +- 0.63 dB after fusing (`python -m experiments.studies.seeds --seeds=0,1,2,3,4`).
"""

import ml_collections

from experiments.cli.command_line import config_dict
from ff_jax.pipeline.config import demo_config


def get_config() -> ml_collections.ConfigDict:
    """Make the settings of the demo."""
    return config_dict(demo_config())
