"""Try to break the programs in many ways, and count how each attempt ended: silent faults, tracebacks, hangs, attacks.

python -m experiments.studies.robustness --workdir=runs/robustness
python -m experiments.studies.robustness --workdir=runs/robustness --rows=logs,flags,settings
python -m experiments.studies.robustness --workdir=runs/robustness --rows=kills --kills=10 --signals=SIGTERM

Rows are selected by their names or the beginnings of them. The exit code is 1 if an attempt ended badly; WORKDIR has
all results of a row as ROW.jsonl, and the table as table.md and table.json.
"""

import json
import logging
import time
import warnings
from pathlib import Path

from absl import flags

from experiments.cli import command_line
from experiments.studies.measures.robustness import outcomes
from experiments.studies.measures.robustness.kills import SIGNALS
from experiments.studies.measures.robustness.rows import ROWS, Options
from ff_jax.export.tables import as_markdown, as_text

_WORKDIR = command_line.workdir_flag("New folder for the results; damaged copies are deleted.")
_ROWS = flags.DEFINE_list("rows", sorted(ROWS), "Rows of the table: names, or beginnings of names.")
_KILLS = flags.DEFINE_integer("kills", 2, "Signals of each kind for each program.", lower_bound=1, upper_bound=100_000)
_SIGNALS = flags.DEFINE_list("signals", list(SIGNALS), "What the programs are sent.")
_COUNT = flags.DEFINE_integer(
    "count", 100, "Random changes of each file format and of a checkpoint.", lower_bound=1, upper_bound=10_000_000
)
_SEED = flags.DEFINE_integer("seed", 0, "Of all random draws.", lower_bound=0, upper_bound=2_147_483_647)


def selected_rows() -> list[str]:
    """List the rows of --rows in the order of the table.

    Raises:
        ValueError: no row has such a name.
    """
    for name in _ROWS.value:
        if not any(row.startswith(name) for row in ROWS):
            raise ValueError(f"invalid --rows={name}: expected some of {', '.join(ROWS)}, or beginnings of them.")
    return [row for row in ROWS if row.startswith(tuple(_ROWS.value))]


def main(_: list[str]) -> None:
    """Make the attempts row by row, and print what ended badly and the table."""
    if unknown := set(_SIGNALS.value) - set(SIGNALS):
        raise ValueError(f"invalid --signals={min(unknown)}: expected some of {', '.join(SIGNALS)}.")
    rows, workdir = selected_rows(), Path(_WORKDIR.value).absolute()
    logging.disable(logging.WARNING)  # what the programs warn about is not read here
    warnings.simplefilter("ignore", UserWarning)
    counts = {}
    for name in rows:
        begin, folder = time.time(), workdir / name
        folder.mkdir(parents=True, exist_ok=True)
        options = Options(folder, _KILLS.value, tuple(_SIGNALS.value), _COUNT.value, _SEED.value)
        results = outcomes.write(workdir / f"{name}.jsonl", ROWS[name](options))
        counts[name] = outcomes.counts(results)
        bad = [result for result in results if result.kind in outcomes.BAD]
        for result in bad:
            print(f"{name}: {result.kind}: {result.name}: {result.text[:500]}", flush=True)
        print(f"{name}: {len(results)} tried, {len(bad)} bad, {time.time() - begin:.0f} s", flush=True)
    table = outcomes.table(counts)
    print(as_text(table))
    (workdir / "table.md").write_text(as_markdown(table))
    (workdir / "table.json").write_text(json.dumps(counts, indent=2))
    if num_bad := sum(row[kind] for row in counts.values() for kind in outcomes.BAD):
        raise ValueError(f"{num_bad} attempts ended badly: see {workdir}.")


if __name__ == "__main__":
    command_line.run(main)
