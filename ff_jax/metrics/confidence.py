"""Confidence intervals of scores: over frames, over seeds, of differences, and of scores of sets.

Intervals of means are percentile bootstrap intervals (Efron 1979, doi 10.1214/aos/1176344552) stretched about the mean
by t / z sqrt(n / (n - 1)), with t and z the quantiles of Student's and of the normal distribution: plain ones are too
narrow for few values. Measured with 1000 draws of 3 normal values, a plain "95 %" interval holds the mean in 74 %,
this one in 95 %; of 3 exponential values in 71 % and 89 %.

They describe what was drawn at random. Frames of one drive resemble their neighbours, so an interval over them speaks
about that drive alone and is too narrow even there; use seeds or scenes to speak about a method.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num
from scipy import stats

Values = Sequence[float] | Num[np.ndarray, "n"]

RESAMPLES = 2000
FEWEST = 3  # values; two say next to nothing about their spread


class Interval(NamedTuple):
    """An estimate and its confidence interval; the bounds are nan if there are fewer than 3 values."""

    mean: float
    low: float
    high: float
    count: int  # values, seeds or pairs


def mean_interval(values: Values, level: float = 0.95, seed: int = 0) -> Interval:
    """Return the mean of independent values and its interval.

    Args:
        values: at least one, all finite.
        level: in (0, 1): how often such an interval should hold the true mean.
        seed: of the resampling.

    Raises:
        ValueError: there is no value, one is not finite, or the level is not in (0, 1).
    """
    sample = _checked(values, level)
    mean, count = float(sample.mean()), len(sample)
    if count < FEWEST:
        return Interval(mean, np.nan, np.nan, count)
    result = stats.bootstrap(
        (sample,),
        np.mean,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    tail = (1 + level) / 2
    stretch = stats.t.ppf(tail, count - 1) / stats.norm.ppf(tail) * np.sqrt(count / (count - 1))
    low, high = (mean + stretch * (bound - mean) for bound in result.confidence_interval)
    return Interval(mean, float(low), float(high), count)


def over_seeds(values_by_seed: Mapping[int, Values], level: float = 0.95, seed: int = 0) -> Interval:
    """Return the mean over seeds of the mean over frames, and its interval for a new seed of the same kind.

    Whole seeds are resampled and their frames stay together. The mean of a seed already carries the scatter of its
    frames; resampling those as well would count it twice (Davison and Hinkley 1997, section 3.8).

    Args:
        values_by_seed: scores of the frames of every seed.
        level: as in `mean_interval`.
        seed: of the resampling.

    Raises:
        ValueError: there is no seed, one has no value, or as in `mean_interval`.
    """
    means = [float(_checked(values, level).mean()) for values in values_by_seed.values()]
    return mean_interval(means, level, seed)


def paired_interval(before: Values, after: Values, level: float = 0.95, seed: int = 0) -> Interval:
    """Return the mean of `after` - `before` and its interval; entry i of both belongs to the same frame or seed.

    Raises:
        ValueError: the lengths differ, or as in `mean_interval`.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} values before and {len(after)} after do not pair up; give the same frames.")
    return mean_interval(_checked(after, level) - _checked(before, level), level, seed)


def resampled(
    statistic: Callable[..., float],
    *samples: Float[np.ndarray, "_ _"],
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 200,
) -> Interval:
    """Return a statistic of whole samples, such as FID of feature rows, and how far it scatters.

    The rows of every sample are drawn anew, each sample by itself. Drawing with repetition raises a biased statistic,
    as FID is, once more; so the spread of the resampled values about their own mean is laid about the statistic
    itself. The interval is one for the statistic at this number of rows, whose bias it does not remove: compare only
    values of equally many rows.

    Args:
        statistic: of arrays like `samples`, in that order.
        samples: rows to draw from.
        level: as in `mean_interval`.
        seed: of the resampling.
        resamples: how often; each calls `statistic` once.

    Returns:
        The statistic of all rows in `mean`; `count` is the number of rows of the smallest sample.

    Raises:
        ValueError: there is no sample, one has no row, or the level is not in (0, 1).
    """
    count = min((len(sample) for sample in samples), default=0)
    if not count or not 0 < level < 1:
        raise ValueError(f"{level=}, samples of {[len(s) for s in samples]} rows: give rows and a level in (0, 1).")
    value = float(statistic(*samples))
    if count < FEWEST:
        return Interval(value, np.nan, np.nan, count)
    rng = np.random.default_rng(seed)
    draw = lambda sample: sample[rng.integers(0, len(sample), len(sample))]
    drawn = np.array([float(statistic(*map(draw, samples))) for _ in range(resamples)])
    low, high = value + np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]) - drawn.mean()
    return Interval(value, float(low), float(high), count)


def _checked(values: Values, level: float) -> Float[np.ndarray, "n"]:
    sample = np.asarray(values, np.float64)
    if not 0 < level < 1:
        raise ValueError(f"{level=} must be in (0, 1), such as 0.95.")
    if not sample.size or not np.isfinite(sample).all():
        raise ValueError(f"found {sample.size} values, not all finite or none; leave out those that are not defined.")
    return sample
