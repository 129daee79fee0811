"""The paper's table with ground truth: every system, 3 m and 6 m beside the path on both sides, on five streets.

python -m experiments.sweeps.run --config=experiments/configs/sweeps/paper_table.py --workdir=runs/table --dry_run
python -m experiments.sweeps.run --config=experiments/configs/sweeps/paper_table.py --workdir=runs/table --workers=8
python -m experiments.sweeps.run --config=experiments/configs/sweeps/paper_table.py:pandaset --workdir=runs/pandaset
python -m experiments.sweeps.run --config=experiments/configs/sweeps/paper_table.py:kitti_jam --workdir=runs/jam

The systems are those of `experiments/configs/systems.py`. When all systems of a street are trained they are scored side
by side in the regions of the first one's EIG (`together_seed0/` has tables, metrics.json and side_by_side.png), beside
the true images ("truth", the ceiling). `pandaset` and `kitti_jam` are logs without truth off the path, at 1 to 3 m:
what needs truth is left out, and a seed is a seed of the training. Metrics need their networks
(docs/benchmark_protocol.md). Hardware: one GPU per worker. The estimate of --dry_run scales a measured time of the demo
(131 s for 2,300 training steps, one H200 shared with another run, 2026-12-01) by the training steps alone.
"""

from experiments.configs.systems import SYSTEMS, get_config
from experiments.sweeps.definition import Sweep

_NEEDS_TRUTH = ("psnr", "ssim", "lpips")
_METRICS = {
    **{"NTA-IoU^": "nta", "NTA strict^": "nta_strict", "NTL-IoU^": "ntl", "lane strict^": "lane_strict"},
    **{"FID_": "fid", "PSNR^": "psnr", "SSIM^": "ssim", "LPIPS_": "lpips"},
    **{"PSNR-UCR^": "psnr_ucr", "PSNR-HPR^": "psnr_hpr", "LPIPS-UCR_": "lpips_ucr", "LPIPS-HPR_": "lpips_hpr"},
}
_LOGS = {
    "pandaset": {"data.source": "assets:data/real_views/pandaset002_6cam", "data.cameras": ("front_camera",)},
    "kitti_jam": {"data.source": "assets:data/kitti_jam_color_lidar"},
}
_REAL = {"data.width": 0, "data.moving": False, "schedule.largest": 3.0, "evaluate.shifts": (-3.0, -1.0, 1.0, 3.0)}
_TINY = {
    **{"data.width": 48, "data.height": 32, "data.frames": 4, "data.use_lidar": False, "recon.budget": 400},
    **{"init.points": 200, "init.random_share": 1.0, "schedule.every": 1, "schedule.largest": 1.0},
    **{"evaluate.shifts": (3.0, 6.0), "evaluate.frames": 1, "evaluate.video_frames": 2, "pseudo_view_capacity": 16},
    **{"self_fit.steps": 1, "self_fit.batch": 1, "actors.slots": 0},
}
_SECONDS_PER_STEP = 131 / 2300
_FRAMES, _RATE = 24, 0.1  # of the growing path


def get_sweep(log: str = "streets") -> Sweep:
    """Build the sweep for "streets", "pandaset", "kitti_jam", or "tiny", which only tries the program.

    Raises:
        ValueError: there is no such log.
    """
    if log not in ("streets", "tiny", *_LOGS):
        raise ValueError(f"invalid log {log!r}: expected streets, {', '.join(_LOGS)} or tiny.")
    is_real = log in _LOGS
    shifts, images = ((1, 3), "") if is_real else ((3, 6), " --images=truth=recorded")
    base = {"streets": {}, "tiny": _TINY}.get(log, _REAL | _LOGS.get(log, {}))
    names = ("omnire", "recondreamer") if log == "tiny" else tuple(SYSTEMS)
    unavailable = {"freevs": "the log has no LiDAR sweeps"} if log == "pandaset" else {}
    names = tuple(name for name in names if name not in unavailable)
    rows = {name: {"config": f"experiments/configs/systems.py:{name}"} | base | _own(name, log) for name in names}
    sides = ",".join(f"{sign * shift}" for shift in shifts for sign in (-1, 1))
    line = f"experiments.evaluate --run={{runs}} --out={{out}} --shifts={'3,6' if log == 'tiny' else sides}{images}"
    tries = " --lpips=none --inception=none --detector=none --lanes=none" if log == "tiny" else ""
    return Sweep(
        title=f"The systems of the paper's table, {log}",
        metrics=_columns(shifts, is_real),
        rows=rows,
        seeds=(0,) if log != "streets" else (0, 1, 2, 3, 4),
        seed_settings=("seed",) if is_real else ("seed", "data.seed"),
        together=(f"{line} --growing={0 if log == 'tiny' else _RATE}{tries}",),
        paired=True,
        against="recondreamer" if log == "tiny" else "faithfusion",
        unavailable=unavailable,
        minutes={name: _minutes(name) for name in names},
    )


def _own(name: str, log: str) -> dict:
    """Return what a system of a log needs beside the settings of the log."""
    if log == "tiny":
        stops = {"pairs.stops": (1, 2)} if name == "recondreamer" else {}
        return {"steps": 3, "save_every": 50, "schedule.start": 3 if name == "omnire" else 2} | stops
    return {}


def _columns(shifts: tuple[int, int], is_real: bool) -> dict[str, str | tuple[str, ...]]:
    """List the columns: both sides averaged at every distance, then the growing path, time and memory."""
    columns: dict[str, str | tuple[str, ...]] = {}
    for shift in shifts:
        for head, key in _METRICS.items():
            if not (is_real and key.startswith(_NEEDS_TRUTH)):
                paths = (_path("results", side * shift, key) for side in (-1, 1))
                columns[f"{head[:-1]} @{shift}m{head[-1]}"] = tuple(paths)
    if not is_real:
        end = round(_RATE * (_FRAMES - 1), 2)
        for head, key in (("NTA-IoU growing^", "nta"), ("NTL-IoU growing^", "ntl")):
            columns[head] = tuple(_path("growing", side * end, key) for side in (-1, 1))
    return columns | {"seconds_": "facts.seconds", "GPU bytes_": "facts.peak_device_bytes"}


def _path(table: str, shift: float, key: str) -> str:
    """Write the path of a metric of a system in the scores of its street."""
    return f"../together_seed{{seed}}/metrics.json:{table}[version={{row}},shift={shift}].{key}.mean"


def _minutes(name: str) -> float:
    """Estimate the minutes of a run: those of its training steps, pairs included."""
    config = get_config(name)
    pairs = 0 if name == "omnire" else max(config.pairs.stops, default=config.pairs.steps)
    return _SECONDS_PER_STEP * (config.steps + pairs) / 60
