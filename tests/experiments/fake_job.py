"""An entry point like the main job that does no work: `sweeps/run_test.py` starts it as the runs of a sweep.

--config.value is the PSNR; --config.fails=N fails the first N times; --config.seconds is the duration.
"""

import json
import os
import sys
import time
from pathlib import Path

from ff_jax.runtime.run_lock import lock_run


def main(flags: dict[str, str]) -> None:
    with lock_run(flags["--workdir"]):
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
    (workdir / "results").mkdir(exist_ok=True)
    (workdir / "results" / "metrics.json").write_text(json.dumps({"shifts": {"Fused": values}}))


if __name__ == "__main__":
    assert "--resume" in sys.argv
    main(dict(flag.split("=", 1) for flag in sys.argv[1:] if "=" in flag))
