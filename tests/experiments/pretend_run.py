"""An entry point like the main job, without the work: `sweep_runs_test` starts it as the points of a sweep.

--config.value is the "PSNR"; --config.fails=N fails the first N times; --config.seconds is how long it takes.
"""

import json
import os
import sys
import time
from pathlib import Path

from ff_jax.runtime.run_lock import hold


def main(flags: dict[str, str]) -> None:
    with hold(flags["--workdir"]):
        work(Path(flags["--workdir"]), flags)


def work(workdir: Path, flags: dict[str, str]) -> None:
    with (workdir / "starts").open("a") as starts:
        starts.write(os.environ.get("CUDA_VISIBLE_DEVICES", "-") + "\n")
    tries = len((workdir / "starts").read_text().splitlines())
    time.sleep(float(flags.get("--config.seconds", 0)))
    if tries <= int(flags.get("--config.fails", 0)):
        print("Some progress")
        sys.exit(f"error: value {flags['--config.value']} broke.")
    values = [
        {"shift": 0.0, "psnr": 0.0},
        {"shift": 3.0, "psnr": int(flags["--config.value"]) + int(flags["--config.seed"])},
    ]
    (workdir / "env.json").write_text(json.dumps({"backend": "gpu", "device": "Pretended Chip"}))
    (workdir / "results").mkdir(exist_ok=True)
    (workdir / "results" / "metrics.json").write_text(json.dumps({"shifts": {"Fused": values}}))


if __name__ == "__main__":
    assert "--resume" in sys.argv
    main(dict(flag.split("=", 1) for flag in sys.argv[1:] if "=" in flag))
