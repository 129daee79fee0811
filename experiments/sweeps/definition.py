"""Define a sweep: its runs, the names of their folders, and how their metrics are read and summarized.

`experiments/sweeps/run.py` runs it.
"""

import hashlib
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

Settings = Mapping[str, Any]  # value by the dotted name of a setting; CONFIG names the file of all settings

CONFIG = "config"
_METRICS_FILE = "results/metrics.json"
_MAX_NAME_LENGTH = 100  # characters of a folder's name


@dataclass(frozen=True)
class Range:
    """Interval to draw from, uniformly or (`log`) uniformly in the logarithm."""

    low: float | int
    high: float | int
    log: bool = False

    def __post_init__(self):
        """Check the order of the bounds, and their sign with `log`."""
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"invalid {self}: expected low < high, and low > 0 with log=True.")


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep: every row x every cell of the grid x every random draw x every seed.

    Attributes:
        title: title of the tables.
        metrics: for each column ("PSNR^": higher is better, "LPIPS_": lower is better) the path of the metric in a
            run's folder, see `read_metric`; several paths are averaged. {row} and {seed} stand for those of the run.
        config: file of settings that all runs start from.
        base: settings of all runs.
        rows: named alternatives.
        grid: values by setting; all combinations are run.
        random: a `Range` or a list of choices by setting.
        num_draws: number of random combinations; a larger number keeps the earlier ones.
        seeds: seeds of each combination; statistics are over them.
        seed_settings: settings that receive the seed.
        unavailable: rows of the table that cannot be run, with the reason.
        average: add the mean over all rows to the table (for rows that are scenes, not methods).
        paired: add a table of the differences of each row to the one above it on the same seeds, with intervals.
        after: command lines that follow every run, such as "experiments.evaluate --run={run} --out={run}/benchmark".
        together: command lines that follow all runs of a seed, such as "experiments.evaluate --run={runs} --out={out}";
            {runs} is ROW=FOLDER,.. of all rows, and {out} the folder `together_seed` + seed beside theirs.
        against: row that `paired` compares all others with, in place of the row above each.
        minutes: estimated minutes of one run on one GPU by row, for --dry_run.
        module: entry point; it takes --workdir, --resume, --config and its overrides.
        num_retries: how often a failed run is repeated.
    """

    title: str
    metrics: Mapping[str, str | tuple[str, ...]]
    config: str = "experiments/configs/fuse.py:cpu"
    base: Settings = field(default_factory=dict)
    rows: Mapping[str, Settings] = field(default_factory=dict)
    grid: Mapping[str, Sequence] = field(default_factory=dict)
    random: Mapping[str, Range | Sequence] = field(default_factory=dict)
    num_draws: int = 1
    seeds: tuple[int, ...] = (0,)
    seed_settings: tuple[str, ...] = ("seed", "data.seed")
    unavailable: Mapping[str, str] = field(default_factory=dict)
    average: bool = False
    paired: bool = False
    after: tuple[str, ...] = ()
    together: tuple[str, ...] = ()
    against: str = ""
    minutes: Mapping[str, float] = field(default_factory=dict)
    module: str = "experiments.fuse"
    num_retries: int = 1


class RunSpec(NamedTuple):
    """One run of a sweep."""

    name: str  # of its folder
    label: str  # its settings that differ from other runs, without the seed
    seed: int
    settings: dict[str, Any]


class SeedStats(NamedTuple):
    """Statistics of one metric over the seeds of a label."""

    mean: float  # nan without any value
    std: float  # standard deviation of the sample; nan with a single seed
    best: float
    values: tuple[float, ...]


def run_specs(sweep: Sweep) -> list[RunSpec]:
    """List all runs of a sweep, in the order of rows, grid, draws and seeds.

    Raises:
        ValueError: the sweep has no run, or two runs have the same folder.
    """
    rows = sweep.rows or {"": {}}
    grid = [dict(zip(sweep.grid, values, strict=True)) for values in itertools.product(*sweep.grid.values())]
    draws = [_draw(sweep.random, number) for number in range(sweep.num_draws)] if sweep.random else [{}]
    specs = []
    for (row, settings), cell, draw in itertools.product(rows.items(), grid, draws):
        label = ", ".join(filter(None, [row, *(f"{_short_name(k)}={_text(v)}" for k, v in (cell | draw).items())]))
        for seed in sweep.seeds:
            seeds = dict.fromkeys(sweep.seed_settings, seed)
            everything = {CONFIG: sweep.config, **sweep.base, **settings, **cell, **draw, **seeds}
            specs.append(RunSpec(_folder_name(label, seed), label or "all", seed, everything))
    names = [spec.name for spec in specs]
    if not names:
        raise ValueError("the sweep has no run: add at least one seed, and a value to each setting of the grid.")
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two runs are called {repeated!r}: rename one of the rows.")
    return specs


def command_flags(spec: RunSpec) -> list[str]:
    """Build the flags that pass the settings of a run to its entry point."""
    return [
        f"--{name}={_text(value)}" if name == CONFIG else f"--{CONFIG}.{name}={_text(value)}"
        for name, value in spec.settings.items()
    ]


def read_metric(files: Mapping[str, Any], path: str) -> float:
    """Read the number at a path in the JSON files of a run; nan if there is none.

    Args:
        files: content by the file's path in the run's folder.
        path: names joined by dots; "[shift=3,version=Fused]" selects the entry of a list with these values. A file
            other than results/metrics.json stands in front, with a colon:
            "shifts.Fused[shift=3].psnr", "benchmark/metrics.json:results[shift=3,version=Fused].lpips.mean".
    """
    name, inner_path = split_metric_path(path)
    value = files.get(name)
    for part in re.findall(r"\[[^]]*\]|[^.\[]+", inner_path):
        value = _select(value, part[1:-1]) if part.startswith("[") else _entry(value, part)
    return float(value) if isinstance(value, int | float) else math.nan


def metric_paths(path: str | tuple[str, ...], spec: RunSpec) -> list[str]:
    """List the paths of a metric of one run, with its row and its seed in their places."""
    paths = (path,) if isinstance(path, str) else path
    return [part.replace("{row}", spec.label).replace("{seed}", str(spec.seed)) for part in paths]


def read_metrics(files: Mapping[str, Any], path: str | tuple[str, ...], spec: RunSpec) -> float:
    """Read the metric of a run: the mean over its paths that have a number, nan if none has."""
    values = [read_metric(files, part) for part in metric_paths(path, spec)]
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan


def split_metric_path(path: str) -> tuple[str, str]:
    """Split a metric's path into the file in the run's folder and the path inside it."""
    name, colon, inner_path = path.rpartition(":")
    return (name, inner_path) if colon else (_METRICS_FILE, path)


def summarize(values: Sequence[float], *, higher: bool) -> SeedStats:
    """Compute the statistics of a metric over seeds; nan is ignored."""
    finite = np.array([value for value in values if math.isfinite(value)], float)
    if not len(finite):
        return SeedStats(math.nan, math.nan, math.nan, tuple(values))
    std = float(finite.std(ddof=1)) if len(finite) > 1 else math.nan
    return SeedStats(float(finite.mean()), std, float(finite.max() if higher else finite.min()), tuple(values))


def is_higher_better(column: str) -> bool:
    """Check whether the largest value of a column is the best one."""
    return not column.endswith("_")


def _draw(random: Mapping[str, Range | Sequence], number: int) -> dict[str, Any]:
    rng = np.random.default_rng([7, number])  # from the number alone: a larger `num_draws` keeps the earlier draws
    return {name: _sample(rng, choices) for name, choices in random.items()}


def _sample(rng: np.random.Generator, choices: Range | Sequence) -> Any:
    if not isinstance(choices, Range):
        return choices[rng.integers(len(choices))]
    if choices.log:
        return float(f"{math.exp(rng.uniform(math.log(choices.low), math.log(choices.high))):.4g}")
    return float(f"{rng.uniform(choices.low, choices.high):.4g}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value).replace(" ", "")


def _short_name(name: str) -> str:
    return name.rpartition(".")[2]


def _folder_name(label: str, seed: int) -> str:
    words = re.sub(r"[^\w=.+-]+", "_", label).strip("_.+-")
    if len(words) > _MAX_NAME_LENGTH:
        words = f"{words[:_MAX_NAME_LENGTH]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
    return f"{words}_seed{seed}" if words else f"seed{seed}"


def _entry(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None


def _select(value: Any, conditions: str) -> Any:
    """Select the first entry of a list that fulfills conditions such as "shift=3,version=Fused"."""
    pairs = [condition.partition("=") for condition in conditions.split(",")]
    entries = value if isinstance(value, list) else []
    return next((e for e in entries if all(_is_equal(_entry(e, name), text) for name, _, text in pairs)), None)


def _is_equal(value: Any, text: str) -> bool:
    if isinstance(value, str) or value is None:
        return value == text
    try:
        return value == float(text)
    except ValueError:
        return False
