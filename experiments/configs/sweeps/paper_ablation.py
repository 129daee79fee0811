"""The paper's ablation on the synthetic street: the effect of each use of EIG, at 3 m and 6 m beside the lane.

python -m experiments.sweeps.run --config=experiments/configs/sweeps/paper_ablation.py --workdir=runs/ablation
python -m experiments.sweeps.run --config=experiments/configs/sweeps/paper_ablation.py --workdir=runs/sweep --workers=8

Five rows x five streets. Each row differs from the one above it in one setting; the fixers are the pretrained ones
(these streets are held out). The schedule is that of the paper with a tenth of its steps: outwards by 1 m at steps 300,
500, .. 1300, and at 6 m again, with the second fixer, at 1500, 2100 and 2700. LPIPS and FID need their networks
(docs/benchmark_protocol.md) and are left out without them.
"""

from experiments.sweeps.definition import Sweep

_METRICS = {
    "PSNR^": "psnr",
    "SSIM^": "ssim",
    "LPIPS_": "lpips",
    "FID_": "fid",
    "PSNR-UCR^": "psnr_ucr",
    "PSNR-HPR^": "psnr_hpr",
    "LPIPS-UCR_": "lpips_ucr",
    "LPIPS-HPR_": "lpips_hpr",
    "FID-UCR_": "fid_ucr",
    "FID-HPR_": "fid_hpr",
}
BASE = {
    "fixer": "difix",
    "steps": 3000,
    "schedule.largest": 6.0,
    "pseudo_view_capacity": 126,  # all nine events
    "save_every": 1000,
    "evaluate.shifts": (0.0, 3.0, 6.0),
    "evaluate.video_frames": 12,
    "evaluate.video_width": 6.0,
}
# A fixer without EIG: EIG is not an input, and the output replaces every pixel of the render.
_WITHOUT_EIG = {"eig.use_eig": False}
# All pixels of a pseudo-view have full weight.
_FULL_WEIGHTS = {"eig.floor": 1.0}
# The video fixer until the largest shift is reached, the one-step fixer after that.
_DUAL = {"fixer": "eigent", "late_fixer": "difix"}


def get_sweep() -> Sweep:
    """Build the sweep."""
    where = "benchmark/metrics.json:results[version=Fused,shift={}].{}.mean"
    return Sweep(
        title="Ablation on the synthetic street",
        metrics={
            f"{head[:-1]} @{shift}m{head[-1]}": where.format(shift, key)
            for shift in (3, 6)
            for head, key in _METRICS.items()
        },
        base=BASE,
        rows={
            "reconstruction only": {"fixer": "none"},
            "one-step fixer": {**_WITHOUT_EIG, **_FULL_WEIGHTS},
            "+ EIG guidance": _FULL_WEIGHTS,
            "+ EIGent, dual stage": {**_DUAL, **_FULL_WEIGHTS},
            "+ EIG-weighted reconstruction": _DUAL,
        },
        seeds=(0, 1, 2, 3, 4),
        paired=True,
        after=("experiments.evaluate --run={run} --out={run}/benchmark --shifts=3,6 --detector=none --lanes=none",),
    )
