"""Kill a run repeatedly at random moments, resume it, and compare the result bit for bit with an uninterrupted run.

python -m experiments.studies.kill_and_resume --kills=20 --workdir=/tmp/faults
python -m experiments.studies.kill_and_resume --kills=20 --workdir=/tmp/faults --signal=SIGTERM

The run is the main job on a tiny street. Every second kill happens while a checkpoint is written.
"""

import json
import signal
from pathlib import Path

from absl import flags

from experiments.cli import command_line
from experiments.studies.measures import faults
from ff_jax.export.tables import Table, as_text
from ff_jax.runtime.progress import progress

_WORKDIR = command_line.workdir_flag("New folder for the runs.")
_KILLS = flags.DEFINE_integer("kills", 20, "Number of kills.", lower_bound=0, upper_bound=1_000_000)
_SIGNAL = flags.DEFINE_enum("signal", "SIGKILL", ["SIGKILL", "SIGTERM", "SIGINT"], "What the runs are sent.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the moments.", lower_bound=0, upper_bound=2_147_483_647)


def main(_: list[str]) -> None:
    """Run once without and then with kills; print when they happened and whether the results are equal."""
    workdir, sent = Path(_WORKDIR.value), signal.Signals[_SIGNAL.value]
    seconds = faults.uninterrupted(workdir / "whole")
    rows, different, runs = [], [], 1
    for number in progress(_KILLS.value, "kills", every=0):
        killed = workdir / f"killed{runs}"
        in_checkpoint, seed = number % 2 == 1, (_SEED.value, number)
        kill = faults.run_and_kill(killed, seconds, seed=seed, in_checkpoint=in_checkpoint, number=sent)
        row = f"{number + 1}", f"{runs}", f"{kill.seconds:.1f}", kill.phase, f"{kill.step}", kill.during
        rows.append((*row, f"{kill.code}", f"{kill.waited:.1f}"))
        if faults.is_finished(killed) or number + 1 == _KILLS.value:  # later kills need a new run
            faults.finish(killed)
            different += faults.differences(workdir / "whole", killed)
            runs += 1
    num_hits = sum(row[5] != "it had ended" for row in rows)
    names = "", "run", "s after start", "phase", "last checkpoint", "during", "exit code", "s until it ended"
    print(as_text(Table(f"Ends by {sent.name}", names, rows)))
    outcome = f"differ in {', '.join(different[:5])}" if different else "equal the uninterrupted run bit for bit"
    print(f"{num_hits} kills of {runs - 1} runs of {seconds:.0f} s (compilations shared); their results {outcome}.")
    (workdir / "kills.json").write_text(json.dumps({"kills": rows, "different": different}, indent=2))
    if different:
        raise ValueError("a resumed run ended with other numbers than an uninterrupted one.")


if __name__ == "__main__":
    command_line.run(main)
