"""Estimate confidence intervals of scores: over frames, over seeds, of differences, and of scores of sets.

Intervals of means are percentile bootstrap intervals (Efron 1979, doi 10.1214/aos/1176344552) stretched about the mean
by t / z sqrt(n / (n - 1)), with t and z the quantiles of Student's and of the normal distribution, because plain ones
are too narrow for few values. Measured with 1000 draws of 3 normal values, a plain "95 %" interval contains the mean in
74 %, this one in 95 %; of 3 exponential values in 71 % and 89 %.

Neighboring frames of one drive are correlated: an interval over them describes this drive only and is still too narrow.
Use seeds or scenes to compare methods.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num
from scipy import stats

Values = Sequence[float] | Num[np.ndarray, "n"]

RESAMPLES = 2000
MIN_VALUES = 3  # two values do not define a spread


class Interval(NamedTuple):
    """An estimate and its confidence interval; the bounds are NaN for fewer than 3 values."""

    mean: float
    low: float
    high: float
    count: int  # number of values, seeds or pairs


def mean_interval(values: Values, level: float = 0.95, seed: int = 0) -> Interval:
    """Estimate the mean of independent values and its interval.

    Args:
        values: at least one, all finite.
        level: in (0, 1): probability that such an interval contains the true mean.
        seed: of the resampling.

    Raises:
        ValueError: there is no value, one is not finite, or the level is not in (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"{level=} must be in (0, 1), such as 0.95.")
    sample = _as_sample(values)
    mean, count = float(sample.mean()), len(sample)
    if count < MIN_VALUES:
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


def seed_interval(values_by_seed: Mapping[int, Values]) -> Interval:
    """Estimate the mean over seeds of the mean over frames, and its interval.

    Whole seeds are resampled. The mean of a seed already includes the scatter of its frames; resampling the frames as
    well would count it twice (Davison and Hinkley 1997, section 3.8).

    Args:
        values_by_seed: scores of all frames by seed.

    Raises:
        ValueError: there is no seed, one has no value, or as in `mean_interval`.
    """
    means = [float(_as_sample(values).mean()) for values in values_by_seed.values()]
    return mean_interval(means)


def paired_interval(before: Values, after: Values) -> Interval:
    """Estimate the mean of `after` - `before` and its interval; entry i of both belongs to the same frame or seed.

    Raises:
        ValueError: the lengths differ, or as in `mean_interval`.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} values before and {len(after)} after do not pair up; give the same frames.")
    return mean_interval(_as_sample(after) - _as_sample(before))


def bootstrap_statistic(
    statistic: Callable[..., float], *samples: Float[np.ndarray, "_ _"], resamples: int = 200
) -> Interval:
    """Estimate a statistic of whole samples, such as FID of feature rows, and its 95 % interval.

    The rows of each sample are resampled independently. Resampling adds to the bias of a statistic such as FID, so the
    spread of the resampled values about their mean is centered at the statistic itself. The bias at this number of rows
    remains: compare only values of equally many rows.

    Args:
        statistic: function of arrays like `samples`, in that order.
        samples: rows to draw from.
        resamples: number of calls of `statistic`.

    Returns:
        The statistic of all rows in `mean`; `count` is the number of rows of the smallest sample.

    Raises:
        ValueError: there is no sample, or one has no row.
    """
    count = min((len(sample) for sample in samples), default=0)
    if not count:
        raise ValueError(f"samples of {[len(s) for s in samples]} rows: expected at least one row in each.")
    value = float(statistic(*samples))
    if count < MIN_VALUES:
        return Interval(value, np.nan, np.nan, count)
    rng = np.random.default_rng(0)

    def resample(sample: Float[np.ndarray, "_ _"]) -> Float[np.ndarray, "_ _"]:
        return sample[rng.integers(0, len(sample), len(sample))]

    replicates = np.array([float(statistic(*map(resample, samples))) for _ in range(resamples)])
    low, high = value + np.quantile(replicates, [0.025, 0.975]) - replicates.mean()
    return Interval(value, float(low), float(high), count)


def _as_sample(values: Values) -> Float[np.ndarray, "n"]:
    sample = np.asarray(values, np.float64)
    if not sample.size or not np.isfinite(sample).all():
        raise ValueError(f"got {sample.size} values: expected at least one, all finite.")
    return sample
