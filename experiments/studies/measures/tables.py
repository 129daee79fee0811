"""Format the figures of several seeds as Markdown tables."""

from collections.abc import Mapping, Sequence

import numpy as np


def seed_table(columns: Sequence[str], rows: Mapping[int, Sequence[float]], digits: int) -> str:
    """Format values by seed, with a last line of means and standard deviations."""
    values = np.array(list(rows.values()), float)
    known = np.ma.masked_invalid(values)  # a column without any value has the mean NaN, without a warning
    spread = known.std(0, ddof=1).filled(np.nan) if len(values) > 1 else np.zeros(len(columns))
    lines: list[Sequence[str]] = [("street", *columns), ["---"] * (len(columns) + 1)]
    for seed, row in zip(rows, values, strict=True):
        lines.append((str(seed), *(f"{value:.{digits}f}" for value in row)))
    means = zip(known.mean(0).filled(np.nan), spread, strict=True)
    lines.append(("mean", *(f"{mean:.{digits}f} +- {std:.{digits}f}" for mean, std in means)))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def case_table(rows: Mapping[int, Mapping[str, Mapping[str, float]]]) -> str:
    """Format figures by seed, case and name, with a column for each figure of each case."""
    first = next(iter(rows.values()))
    columns = [(case, name) for case, figures in first.items() for name in figures]
    titles = [f"{case}: {name.replace('_', ' ')}" for case, name in columns]
    return seed_table(titles, {seed: [row[case][name] for case, name in columns] for seed, row in rows.items()}, 3)
