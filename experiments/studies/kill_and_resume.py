"""Kill a run again and again at random moments and compare the end with an undisturbed run, bit for bit.

python -m experiments.studies.kill_and_resume --kills=20 --workdir=/tmp/faults

The run is the main job on a tiny street. Every second kill waits for a checkpoint that is being written.
"""

import json
from pathlib import Path

from absl import flags

from experiments.cli import command_line
from experiments.studies.measures import faults
from ff_jax.export.tables import Table, as_text
from ff_jax.runtime.run_log import progress

_WORKDIR = flags.DEFINE_string("workdir", None, "New folder for the runs.", required=True)
_KILLS = flags.DEFINE_integer("kills", 20, "How often the run is killed.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments.")


def main(_: list[str]) -> None:
    """Run once undisturbed, and as often as it takes with kills; print where they fell and whether all is the same."""
    workdir = Path(_WORKDIR.value)
    seconds = faults.undisturbed(workdir / "whole")
    rows, different, runs = [], [], 1
    for number in progress(_KILLS.value, "kills", every=0):
        killed = workdir / f"killed{runs}"
        kill = faults.run_and_kill(killed, seconds, seed=(_SEED.value, number), in_checkpoint=number % 2 == 1)
        rows.append((f"{number + 1}", f"{runs}", f"{kill.seconds:.1f}", kill.phase, f"{kill.step}", kill.during))
        if faults.is_finished(killed) or number + 1 == _KILLS.value:  # later kills take a new run
            faults.finish(killed)
            different += faults.differences(workdir / "whole", killed)
            runs += 1
    hit = sum(row[-1] != "it had ended" for row in rows)
    print(as_text(Table("Kills", ("", "run", "s after start", "phase", "last checkpoint", "during"), rows)))
    same = f"differ in {', '.join(different[:5])}" if different else "equal the undisturbed run bit for bit"
    print(f"{hit} kills of {runs - 1} runs of {seconds:.0f} s (compilations shared); their results {same}.")
    (workdir / "kills.json").write_text(json.dumps({"kills": rows, "different": different}, indent=2))
    if different:
        raise ValueError("a run that was killed and resumed ended with other numbers than an undisturbed one.")


if __name__ == "__main__":
    command_line.run(main)
