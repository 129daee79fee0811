"""Measure how well an uncertainty map predicts the error of a render: ranking and calibration.

Scores and errors are flat arrays of pixels. Pixels with tied scores get their mean error, so that the result does not
depend on their order.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

Values = Float[np.ndarray, "P"]


class Reliability(NamedTuple):
    """Pixels in groups of equal size, sorted by the predicted standard deviation."""

    predicted: Float[np.ndarray, "bins"]  # root mean square of the predicted standard deviations
    observed: Float[np.ndarray, "bins"]  # root mean square error


def spearman(score: Values, error: Values) -> float:
    """Compute Spearman's rank correlation; 0 if either array is constant."""
    _check(score, error)
    if np.ptp(score) == 0 or np.ptp(error) == 0:
        return 0.0
    # The result class of scipy is untyped.
    return float(stats.spearmanr(score, error).statistic)  # pyright: ignore[reportAttributeAccessIssue]


def pearson(score: Values, error: Values) -> float:
    """Compute Pearson's correlation; 0 if either array is constant."""
    _check(score, error)
    a, b = (np.asarray(values, np.float64) - np.mean(values, dtype=np.float64) for values in (score, error))
    norm = np.sqrt(np.sum(a * a) * np.sum(b * b))
    return float(np.sum(a * b) / norm) if norm > 0 else 0.0


def sort_by_score(score: Values, error: Values) -> Values:
    """Sort the errors by ascending score; errors of tied scores are replaced by their mean."""
    _check(score, error)
    _, group, count = np.unique(score, return_inverse=True, return_counts=True)
    means = np.bincount(group.reshape(-1), np.asarray(error, np.float64)) / count
    return np.repeat(means, count)


def sparsification(score: Values, error: Values, fractions: Float[np.ndarray, "F"]) -> Float[np.ndarray, "F"]:
    """Compute the mean error after removing each fraction of the pixels, highest scores first; at least one stays."""
    ordered = sort_by_score(score, error)
    means = np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
    num_left = np.clip(np.round((1 - fractions) * len(ordered)).astype(int), 1, len(ordered))
    return means[num_left - 1]


def ause(score: Values, error: Values, count: int = 100) -> float:
    """Compute the area under the sparsification error (Ilg et al. 2018, arXiv 1802.07095), in units of the mean error.

    That is the area between the curve of `score` and the optimal curve, which removes the largest errors first: 0 for
    a perfect ranking, never negative.
    """
    fractions = np.arange(count) / count
    gap = sparsification(score, error, fractions) - sparsification(error, error, fractions)
    mean = float(np.mean(error))
    return float(np.mean(gap)) / mean if mean > 0 else 0.0


def admitted_psnr(score: Values, squared: Values, fractions: Float[np.ndarray, "F"]) -> Float[np.ndarray, "F"]:
    """Compute the PSNR (dB, peak 1) of the fractions of the pixels with the lowest scores (FaithFusion, figure 3).

    Args:
        score: score of every pixel.
        squared: squared error of every pixel, mean over the channels.
        fractions: shares in (0, 1].
    """
    return -10 * np.log10(np.maximum(sparsification(score, squared, 1 - np.asarray(fractions)), 1e-12))


def reliability(std: Values, squared: Values, bins: int = 15) -> Reliability:
    """Compare predicted standard deviations with errors, in groups of equal size.

    Args:
        std: predicted standard deviation of one channel, noise included.
        squared: squared error, mean over the channels.
        bins: number of groups.
    """
    order = np.argsort(std, kind="stable")
    groups = np.array_split(order, min(bins, len(order)))

    def root_mean(values: Values) -> Float[np.ndarray, "bins"]:
        return np.array([np.sqrt(np.mean(values[group])) for group in groups])

    return Reliability(root_mean(np.square(std, dtype=np.float64)), root_mean(np.asarray(squared, np.float64)))


def miscalibration(groups: Reliability) -> float:
    """Compute the expected normalized calibration error (Levi et al. 2022, arXiv 1905.11659); 0 is perfect."""
    return float(np.mean(np.abs(groups.predicted - groups.observed) / groups.predicted))


def detection_rates(
    score: Values, bad: Bool[np.ndarray, "P"], thresholds: Float[np.ndarray, "F"]
) -> tuple[Float[np.ndarray, "F"], Float[np.ndarray, "F"]]:
    """Compute the fractions of bad and of good pixels whose score is at least each threshold."""
    _check(score, bad)

    def fraction(values: Values) -> Float[np.ndarray, "F"]:
        below = np.searchsorted(np.sort(values), thresholds, side="left")
        return 1 - below / max(len(values), 1)

    return fraction(score[bad]), fraction(score[~bad])


def _check(score: np.ndarray, other: np.ndarray) -> None:
    if score.shape != other.shape or score.ndim != 1 or not score.size:
        raise ValueError(f"scores {score.shape} and errors {other.shape} must be flat, equally long and not empty.")
    if not np.isfinite(score).all():
        raise ValueError("scores must be finite: leave out pixels that have none.")
