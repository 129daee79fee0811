"""Run the main job on several synthetic streets and tabulate mean and spread over the seeds.

python -m experiments.studies.seeds --workdir=runs/seeds --seeds=0,1,2
"""

import json
from pathlib import Path

import numpy as np

from experiments.cli import command_line
from experiments.studies.measures.seeded_runs import fused_run
from ff_jax.export.records import shift_name

_CONFIG = command_line.config_flag("experiments/configs/fuse.py:cpu")
_WORKDIR = command_line.workdir_flag()
_SEEDS = command_line.seeds_flag(3, "Seeds of the street and of all random numbers.")


def main(_: list[str]) -> None:
    """Run all seeds that are not finished and print the table."""
    base = command_line.to_config(_CONFIG.value)
    runs = []
    for seed in command_line.parse_numbers(_SEEDS, int):
        workdir = fused_run(base, seed, Path(_WORKDIR.value))
        runs.append(json.loads((workdir / "results" / "metrics.json").read_text())["shifts"])
    print(f"{'shift':>15} | {'recon PSNR':>15} | {'fused PSNR':>15} | {'improvement, dB':>15} | improvement per seed")
    for rows in zip(*(zip(*run.values(), strict=True) for run in runs), strict=True):
        psnr = np.array([[row["psnr"] for row in pair] for pair in rows])
        improvement = psnr[:, 1] - psnr[:, 0]
        cells = [f"{x.mean():>6.2f} +- {x.std(ddof=1) if len(x) > 1 else 0:4.2f}" for x in (*psnr.T, improvement)]
        per_seed = ", ".join(f"{value:+.2f}" for value in improvement)
        columns = [f"{cell:>15}" for cell in (shift_name(rows[0][0]["shift"]), *cells)]
        print(" | ".join([*columns, per_seed]))


if __name__ == "__main__":
    command_line.run(main)
