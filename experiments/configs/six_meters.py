"""The synthetic street, fused out to 6 m: the schedule of the paper with a tenth of its steps (208x128 pixels).

python -m experiments.fuse --config=experiments/configs/six_meters.py --workdir=runs/six_meters

Outwards by 1 m at steps 300, 500, .. 1300, and at 6 m again at 1500, 2100 and 2700; `paper_ablation` has the same runs.
"""

import ml_collections

from experiments.configs import fuse
from experiments.configs.sweeps.paper_ablation import BASE


def get_config() -> ml_collections.ConfigDict:
    """Build the settings."""
    c = fuse.get_config("cpu")
    with c.unlocked():
        c.update_from_flattened_dict(dict(BASE))
    return c
