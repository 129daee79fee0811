"""Break a small log in every way, and count what opening it says: one sentence, nothing, or a traceback.

python -m experiments.studies.broken_logs --workdir=runs/broken

Nothing is trained. Settings and flags are walked by tests/ff_jax/runtime/settings_test.py and
tests/experiments/cli/flag_checks_test.py.
"""

import shutil
from collections import Counter
from pathlib import Path

from experiments.cli import command_line
from experiments.studies.measures.broken_logs import REPAIRED, SENTENCE, SILENT, TRACEBACK, faults, outcome
from ff_jax.data.folder import write_folder
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.data.synthetic.lidar import LidarPattern
from ff_jax.export.tables import Table, as_text

_WORKDIR = command_line.workdir_flag("New folder for the good log; each broken copy is deleted.")


def main(_: list[str]) -> None:
    """Break the log, and print the table and what is wrong."""
    workdir = Path(_WORKDIR.value)
    street = street_log(0, StreetConfig(num_frames=6, moving=False), 64, 40, lidar=LidarPattern(beams=4, azimuths=90))
    good, counts = write_folder(street, workdir / "good"), Counter()
    for number, fault in enumerate(faults()):
        folder = workdir / f"broken{number}"
        result, text = outcome(good, fault, folder)
        shutil.rmtree(folder)
        counts[result] += 1
        if result in (SILENT, TRACEBACK):
            print(f"{result}: {fault.name}: {text[:300]}")
    columns = (SENTENCE, REPAIRED, SILENT, TRACEBACK)
    print(as_text(Table("broken logs", ("", *columns), [("logs", *(str(counts[column]) for column in columns))])))


if __name__ == "__main__":
    command_line.run(main)
