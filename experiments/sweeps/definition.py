"""Sweeps: which runs there are, what their folders are called, and what their metrics say together.

Nothing is run here: `experiments/sweeps/run.py` does that.
"""

import hashlib
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

Settings = Mapping[str, Any]  # value by the dotted name of a setting; "config" names the file of all settings

FILE = "config"
_METRICS = "results/metrics.json"
_LONGEST = 100  # characters of a folder's name


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds, uniform or (`log`) uniform in the logarithm."""

    low: float | int
    high: float | int
    log: bool = False

    def __post_init__(self):
        """Check the order, and the sign that a logarithm needs."""
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"{self} must have low < high, and low > 0 with log=True.")


@dataclass(frozen=True)
class Sweep:
    """What is varied: every row, with every point of the grid, with every random draw, with every seed.

    Attributes:
        title: of the tables.
        metrics: by the head of a column ("PSNR^": higher is better, "LPIPS_": lower is), where a run's folder holds
            the number: see `metric`.
        config: file of settings that all points start from.
        base: settings of all points.
        rows: named alternatives.
        grid: values by setting; all combinations are run.
        random: by setting a `Range` or values to draw from.
        draws: how many combinations of `random`; more of them later keep the earlier ones.
        seeds: every point is run with each; spreads are over them.
        seeded: settings that take the seed.
        missing: rows of the table that cannot be run, with the reason.
        average: add the mean over all points of the rows to the table (rows that are scenes, not methods).
        after: command lines that follow every run, such as "experiments.evaluate --run={run} --out={run}/benchmark".
        module: the entry point; it takes --workdir, --resume, --config and its overrides.
        retries: how often a point that failed is tried again.
    """

    title: str
    metrics: Mapping[str, str]
    config: str = "experiments/configs/fuse.py"
    base: Settings = field(default_factory=dict)
    rows: Mapping[str, Settings] = field(default_factory=dict)
    grid: Mapping[str, Sequence] = field(default_factory=dict)
    random: Mapping[str, Range | Sequence] = field(default_factory=dict)
    draws: int = 1
    seeds: tuple[int, ...] = (0,)
    seeded: tuple[str, ...] = ("seed", "data.seed")
    missing: Mapping[str, str] = field(default_factory=dict)
    average: bool = False
    after: tuple[str, ...] = ()
    module: str = "experiments.fuse"
    retries: int = 1


class Point(NamedTuple):
    """One run of a sweep."""

    name: str  # of its folder
    label: str  # what differs from other points but the seed
    seed: int
    settings: dict[str, Any]


class Spread(NamedTuple):
    """One metric of one label over the seeds."""

    mean: float  # nan if nothing was measured
    deviation: float  # standard deviation of the sample; nan of a single seed
    best: float
    values: tuple[float, ...]


def points(sweep: Sweep) -> list[Point]:
    """Return all runs of a sweep, in the order of rows, grid, draws and seeds.

    Raises:
        ValueError: there is none, or two would share a folder.
    """
    rows = sweep.rows or {"": {}}
    grid = [dict(zip(sweep.grid, values, strict=True)) for values in itertools.product(*sweep.grid.values())]
    drawn = [_draw(sweep.random, number) for number in range(sweep.draws)] if sweep.random else [{}]
    found = []
    for (row, settings), cell, draw in itertools.product(rows.items(), grid, drawn):
        label = ", ".join(filter(None, [row, *(f"{_short(name)}={_text(v)}" for name, v in (cell | draw).items())]))
        for seed in sweep.seeds:
            own = dict.fromkeys(sweep.seeded, seed)
            everything = {FILE: sweep.config, **sweep.base, **settings, **cell, **draw, **own}
            found.append(Point(_folder(label, seed), label or "all", seed, everything))
    names = [point.name for point in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if not found or twice:
        raise ValueError(f"two points are called {twice!r}: let them differ." if twice else "the sweep has no point.")
    return found


def command_flags(point: Point) -> list[str]:
    """Return the flags of an entry point that give it the settings of a point."""
    prefix = lambda name: "" if name == FILE else "config."
    return [f"--{prefix(name)}{name}={_text(value)}" for name, value in point.settings.items()]


def metric(read: Mapping[str, Any], path: str) -> float:
    """Return the number that a path names in the JSON files of a run; nan where there is none.

    Args:
        read: content by the file's path in the run's folder.
        path: names joined by dots; "[shift=3,version=Fused]" picks the entry of a list with these values. In front of
            it, with a colon, stands the file, unless it is results/metrics.json:
            "shifts.Fused[shift=3].psnr", "benchmark/metrics.json:results[shift=3,version=Fused].lpips.mean".
    """
    name, inside = file_of(path)
    value = read.get(name)
    for part in re.findall(r"\[[^]]*\]|[^.\[]+", inside):
        value = _pick(value, part[1:-1]) if part.startswith("[") else _entry(value, part)
    return float(value) if isinstance(value, int | float) else math.nan


def file_of(path: str) -> tuple[str, str]:
    """Return which file of a run's folder a metric's path looks into, and the path inside."""
    name, colon, inside = path.rpartition(":")
    return (name, inside) if colon else (_METRICS, path)


def summarize(values: Sequence[float], *, higher: bool) -> Spread:
    """Return mean, spread and the best of what the seeds gave; nan counts as not measured."""
    known = np.array([value for value in values if math.isfinite(value)], float)
    if not len(known):
        return Spread(math.nan, math.nan, math.nan, tuple(values))
    deviation = float(known.std(ddof=1)) if len(known) > 1 else math.nan
    return Spread(float(known.mean()), deviation, float(known.max() if higher else known.min()), tuple(values))


def is_higher_better(column: str) -> bool:
    """Return whether the best value of a column is its largest one."""
    return not column.endswith("_")


def _draw(random: Mapping[str, Range | Sequence], number: int) -> dict[str, Any]:
    rng = np.random.default_rng([7, number])  # by its number alone: more draws keep the earlier ones
    return {name: _value(rng, choice) for name, choice in random.items()}


def _value(rng: np.random.Generator, choice: Range | Sequence) -> Any:
    if not isinstance(choice, Range):
        return choice[rng.integers(len(choice))]
    if choice.log:
        return float(f"{math.exp(rng.uniform(math.log(choice.low), math.log(choice.high))):.4g}")
    return float(f"{rng.uniform(choice.low, choice.high):.4g}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value).replace(" ", "")


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _folder(label: str, seed: int) -> str:
    words = re.sub(r"[^\w=.+-]+", "_", label).strip("_.+-")
    if len(words) > _LONGEST:
        words = f"{words[:_LONGEST]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
    return f"{words}_seed{seed}" if words else f"seed{seed}"


def _entry(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None


def _pick(value: Any, conditions: str) -> Any:
    wanted = [condition.partition("=") for condition in conditions.split(",")]
    matches = lambda entry: all(_equal(_entry(entry, name), text) for name, _, text in wanted)
    return next(filter(matches, value), None) if isinstance(value, list) else None


def _equal(value: Any, text: str) -> bool:
    if isinstance(value, str) or value is None:
        return value == text
    try:
        return value == float(text)
    except ValueError:
        return False
