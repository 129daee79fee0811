"""The tables of the study of signals: gains over the baseline, and paired differences to exact EIG."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.studies.measures.steering import RECORDED, USES, Variant, variants
from ff_jax.metrics.confidence import Interval, paired_interval

Results = Mapping[int, Mapping[str, Mapping[str, Any]]]  # scores by seed and by name of the variant


def steering_tables(results: Results, signals: Sequence[str], uses: Sequence[str], region: str = "all") -> str:
    """Format one table per shift and measure as Markdown: signals are rows, uses are columns.

    A cell is the mean over the seeds of the gain over the baseline, and in brackets the paired difference to exact EIG
    with its 95 % interval.
    """
    first = next(iter(results.values()))[RECORDED]["shifts"]
    measures = [name for name in ("psnr", "lpips") if all(first[s][region].get(name) is not None for s in first)]
    parts = [f"Seeds: {', '.join(map(str, results))}. Region: {region}. In brackets: difference to exact EIG."]
    for shift in first:
        for measure in measures:
            parts.append(_table(results, signals, uses, (shift, region, measure)))
    return "\n\n".join(parts) + "\n"


def _table(results: Results, signals: Sequence[str], uses: Sequence[str], what: tuple[str, str, str]) -> str:
    shift, _, measure = what
    unit = ", dB" if measure == "psnr" else ""
    columns = [use for use in USES if use in uses]
    lines = [f"| {shift} m, gain in {measure.upper()}{unit} | " + " | ".join(columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    exact = values_of(results, variants((), ())[0].name, what)
    recorded = values_of(results, RECORDED, what)
    digits = 2 if measure == "psnr" else 3
    for signal in signals:
        cells = []
        for use in columns:
            name = variants((), ())[0].name if signal == "exact" else Variant(use, signal).name
            values = values_of(results, name, what)
            gain = _text(paired_interval(recorded, values), digits)
            cells.append(gain if signal == "exact" else f"{gain} [{_text(paired_interval(exact, values), digits)}]")
        lines.append(f"| {signal} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def values_of(results: Results, name: str, what: tuple[str, str, str]) -> list[float]:
    """List the values of a variant over the seeds, at (shift, region, measure)."""
    shift, region, measure = what
    return [result[name]["shifts"][shift][region][measure] for result in results.values()]


def _text(interval: Interval, digits: int) -> str:
    """Format a mean with its interval, which fewer than three seeds do not have."""
    mean = f"{interval.mean:+.{digits}f}"
    if np.isnan(interval.low):
        return mean
    return f"{mean} ({interval.low:+.{digits}f} to {interval.high:+.{digits}f})"
