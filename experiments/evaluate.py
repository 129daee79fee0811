"""Score a finished run of the main job again: at other shifts, on more frames, into another folder.

python -m experiments.evaluate --run=runs/demo --out=runs/demo/wide --shifts=-2,0,2,4,6 --frames=24
"""

import dataclasses
import json
from pathlib import Path

from absl import flags

from experiments import common
from ff_jax.data.open import open_log
from ff_jax.export.results import write_results
from ff_jax.fuse import finished, read_config

_RUN = flags.DEFINE_string("run", None, "Folder of a finished run.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder for the results.", required=True)
_SHIFTS = flags.DEFINE_list("shifts", None, "Lateral shifts in metres, left positive; default: as in the run.")
_FRAMES = flags.DEFINE_integer("frames", 0, "At most this many frames per shift; 0: as in the run.")


def main(_: list[str]) -> None:
    """Score the run."""
    workdir = Path(_RUN.value)
    config = read_config(workdir)
    shifts = config.evaluate.shifts if _SHIFTS.value is None else common.numbers(_SHIFTS)
    frames = _FRAMES.value or config.evaluate.frames
    asked = dataclasses.replace(config.evaluate, shifts=shifts, frames=frames)
    config = dataclasses.replace(config, evaluate=asked)
    log = open_log(common.with_log_path(config).data, shifts)
    feed, versions = finished(config, log, workdir)
    facts = json.loads((workdir / "env.json").read_text())
    metrics = write_results(Path(_OUT.value), config, log, feed, versions, facts)
    print(metrics["table"])
    print(f"pictures and the flight: {metrics['page']}")


if __name__ == "__main__":
    common.run(main)
