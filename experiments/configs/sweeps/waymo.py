"""The eight Waymo scenes of ReconDreamer, on which lane-shift methods are compared, with the metrics of the papers.

python -m experiments.sweeps.run --config=experiments/configs/sweeps/waymo.py --workdir=runs/waymo --workers=8

Not yet run: data not available; `waymo_recondreamer.py` gives its place. NTA-IoU, NTL-IoU and FID need their networks
(docs/benchmark_protocol.md).
"""

from experiments.configs.waymo_recondreamer import SCENES
from experiments.sweeps.definition import Sweep

_FILE = "experiments/configs/waymo_recondreamer.py"
_METRICS = {"NTA-IoU^": "nta", "NTL-IoU^": "ntl", "FID_": "fid"}


def get_sweep() -> Sweep:
    """Build a sweep with one run per scene."""
    where = "benchmark/metrics.json:results[version=Fused,shift={}].{}.mean"
    return Sweep(
        title="Waymo, scenes of ReconDreamer",
        metrics={
            f"{head[:-1]} @{shift}m{head[-1]}": where.format(shift, key)
            for shift in (3, 6)
            for head, key in _METRICS.items()
        },
        rows={f"scene {index}": {"config": f"{_FILE}:{index}"} for index in SCENES},
        seed_settings=("seed",),
        average=True,
        after=("experiments.evaluate --run={run} --out={run}/benchmark --shifts=3,6",),
    )
