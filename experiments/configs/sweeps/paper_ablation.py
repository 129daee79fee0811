"""The paper's ablation on the built-in street: what each use of EIG adds, at 3 m and 6 m beside the lane.

python -m experiments.sweeps.run --config=experiments/configs/sweeps/paper_ablation.py --workdir=runs/ablation
python -m experiments.sweeps.run --config=experiments/configs/sweeps/paper_ablation.py --workdir=runs/sweep --workers=8

Five rows x three streets. Every row differs from the one above it in one thing; the fixers are those that ship, trained
on other streets. The schedule is the paper's in a tenth of its steps: outwards by 1 m at steps 300, 500, .. 1300, at
6 m again, with the second fixer, at 1500, 2100 and 2700. LPIPS and FID need their networks
(docs/benchmark_protocol.md); they are left out without.
"""

from experiments.sweeps.definition import Sweep

_METRICS = {
    "PSNR^": "psnr",
    "SSIM^": "ssim",
    "LPIPS_": "lpips",
    "FID_": "fid",
    "PSNR-UCR^": "psnr_ucr",
    "PSNR-HPR^": "psnr_hpr",
    "FID-UCR_": "fid_ucr",
    "FID-HPR_": "fid_hpr",
}
# A repair that does not know EIG: the network is not told, and its output replaces every pixel of the render.
_BLIND = {"eig.guide": False}
# Every pixel of a pseudo-view is believed fully.
_EVEN = {"eig.floor": 1.0}
# The video generator works while the path moves outwards, the one-step fixer after it.
_DUAL = {"fixer": "eigent_then_difix"}


def get_sweep() -> Sweep:
    """Return the sweep."""
    where = "benchmark/metrics.json:results[version=Fused,shift={}].{}.mean"
    return Sweep(
        title="Ablation on the built-in street",
        metrics={
            f"{head[:-1]} @{shift}m{head[-1]}": where.format(shift, key)
            for shift in (3, 6)
            for head, key in _METRICS.items()
        },
        base={
            "fixer": "difix",
            "steps": 3000,
            "schedule.largest": 6.0,
            "pool": 126,  # all nine events
            "save_every": 1000,
            "evaluate.shifts": (0.0, 3.0, 6.0),
            "evaluate.video_frames": 12,
            "evaluate.video_width": 6.0,
        },
        rows={
            "reconstruction only": {"fixer": "none"},
            "one-step fixer": {**_BLIND, **_EVEN},
            "+ EIG guidance": _EVEN,
            "+ EIGent, dual stage": {**_DUAL, **_EVEN},
            "+ EIG-weighted reconstruction": _DUAL,
        },
        seeds=(0, 1, 2),
        after=("experiments.evaluate --run={run} --out={run}/benchmark --shifts=3,6 --detector=none --lanes=none",),
    )
