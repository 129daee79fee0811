"""Figures of the calibration study: summarize the maps and errors of a run, and tabulate several runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from experiments.studies.measures.uncertainty_maps import METHODS
from ff_jax.metrics import calibration as cal
from kernels import ssim

FRACTIONS = np.linspace(0.0, 0.95, 20)  # of removed pixels
ADMITTED = np.linspace(0.05, 1.0, 20)
THRESHOLDS = np.geomspace(1e-3, 30, 60)  # nats
INFLATIONS = np.geomspace(0.25, 64, 97)  # of the variance
WRONG_ERROR = 0.1  # mean absolute error over the channels above which a pixel counts as wrong
_NUM_RANKED = 200_000  # pixels of the rank correlation


def pixel_errors(
    rgb: Float[np.ndarray, "H W 3"], truth: Float[np.ndarray, "H W 3"], valid: Bool[np.ndarray, "H W"]
) -> tuple[Float[np.ndarray, "P"], Float[np.ndarray, "P"]]:
    """Compute the absolute and the squared error of each valid pixel, mean over the channels."""
    difference = np.clip(rgb, 0, 1)[valid].astype(np.float64) - truth[valid]
    return np.abs(difference).mean(-1), (difference**2).mean(-1)


def pixel_dissimilarity(
    rgb: Float[np.ndarray, "H W 3"], truth: Float[np.ndarray, "H W 3"], valid: Bool[np.ndarray, "H W"]
) -> Float[np.ndarray, "P"]:
    """Compute (1 - SSIM) / 2 of each valid pixel, mean over the channels."""
    similarity = ssim(jnp.clip(jnp.asarray(rgb), 0, 1), jnp.asarray(truth))
    return 0.5 * (1 - np.asarray(similarity, np.float64)[valid])


def summarize(
    scores: Mapping[str, Float[np.ndarray, "P"]],
    std: Mapping[str, Float[np.ndarray, "P"]],
    absolute: Float[np.ndarray, "P"],
    squared: Float[np.ndarray, "P"],
    dissimilarity: Float[np.ndarray, "P"],
) -> dict[str, Any]:
    """Compute the figures of a set of pixels, as values for JSON.

    Args:
        scores: score of each pixel, by method.
        std: predicted standard deviation of each pixel, by structure of the posterior.
        absolute: absolute error of each pixel.
        squared: squared error of each pixel.
        dissimilarity: (1 - SSIM) / 2 of each pixel.
    """
    subset = slice(None, None, max(len(absolute) // _NUM_RANKED, 1))
    methods = {}
    for name, score in scores.items():
        score = np.asarray(score, np.float64)
        methods[name] = {
            "spearman": cal.spearman(score[subset], absolute[subset]),
            "pearson": cal.pearson(score, absolute),
            "ause": cal.ause(score, absolute),
            "ause_dssim": cal.ause(score, dissimilarity),
            "spearman_dssim": cal.spearman(score[subset], dissimilarity[subset]),
            "pearson_dssim": cal.pearson(score, dissimilarity),
            "sparsification": (cal.sparsification(score, absolute, FRACTIONS) / absolute.mean()).tolist(),
            "admitted_psnr": cal.admitted_psnr(score, squared, ADMITTED).tolist(),
        }
    groups = {name: cal.reliability(np.asarray(values, np.float64), squared) for name, values in std.items()}
    hit, false = cal.detection_rates(np.asarray(scores["exact"], np.float64), absolute > WRONG_ERROR, THRESHOLDS)
    return {
        "pixels": len(absolute),
        "psnr": float(-10 * np.log10(squared.mean())),
        "methods": methods,
        "oracle": (cal.sparsification(absolute, absolute, FRACTIONS) / absolute.mean()).tolist(),
        "reliability": {
            name: {part: values.tolist() for part, values in group._asdict().items()}
            | {"miscalibration": cal.miscalibration(group)}
            for name, group in groups.items()
        },
        "wrong": float(np.mean(absolute > WRONG_ERROR)),
        "rates": {"hit": hit.tolist(), "false": false.tolist()},
    }


def separation(result: Mapping[str, Any]) -> Float[np.ndarray, "F"]:
    """Compute Youden's index at each threshold: hit rate of wrong pixels minus false-alarm rate of right ones."""
    return np.subtract(result["rates"]["hit"], result["rates"]["false"])


def choose_threshold(results: Sequence[Mapping[str, Any]]) -> float:
    """Find the EIG (nats) that separates wrong from right pixels best on average over runs."""
    return float(THRESHOLDS[np.argmax(np.mean([separation(result) for result in results], 0))])


def at_threshold(result: Mapping[str, Any], threshold: float) -> tuple[float, float, float]:
    """Compute a run's separation at a threshold (nats) and at its best one, and the share of pixels above."""
    index = int(np.argmin(np.abs(np.log(THRESHOLDS / threshold))))
    curve, wrong, rates = separation(result), result["wrong"], result["rates"]
    above = wrong * rates["hit"][index] + (1 - wrong) * rates["false"][index]
    return float(curve[index]), float(curve.max()), float(above)


def inflate(group: Mapping[str, Sequence[float]], noise: float, inflation: float) -> cal.Reliability:
    """Scale the posterior's part of the predicted variance of a reliability curve by `inflation`.

    Args:
        group: "predicted" and "observed" of `summarize`.
        noise: standard deviation of a channel that every prediction includes.
        inflation: factor on the variance beyond noise^2; it does not change the order of the pixels.
    """
    beyond = np.maximum(np.square(group["predicted"]) - noise**2, 0)
    return cal.Reliability(np.sqrt(noise**2 + inflation * beyond), np.asarray(group["observed"], np.float64))


def deviation_factor(group: cal.Reliability) -> float:
    """Compute the factor >= 1 between predicted and observed deviations (geometric mean)."""
    return float(np.exp(np.mean(np.abs(np.log(group.observed / group.predicted)))))


def choose_inflation(results: Sequence[Mapping[str, Any]], noise: Sequence[float]) -> float:
    """Find the inflation of the block posterior's variance that calibrates best on average over runs."""
    groups = [result["reliability"]["block"] for result in results]

    def loss(factor: float) -> float:
        return sum(np.log(deviation_factor(inflate(g, n, factor))) for g, n in zip(groups, noise, strict=True))

    return float(min(INFLATIONS, key=loss))


RANKINGS = {
    "absolute error: AUSE / Spearman / Pearson": ("ause", "spearman", "pearson"),
    "DSSIM: AUSE / Spearman / Pearson": ("ause_dssim", "spearman_dssim", "pearson_dssim"),
}


def text_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Format AUSE and correlations of each method as Markdown, a table per kind of error; columns are sets of pixels.

    Spearman's correlation depends on the order of the pixels alone, as AUSE does; Pearson's also on the unit of a map.
    """
    return "\n\n".join(_ranking_table(results, title, names) for title, names in RANKINGS.items())


def _ranking_table(results: Mapping[str, Mapping[str, Any]], title: str, names: Sequence[str]) -> str:
    lines = [f"| {title} | " + " | ".join(results) + " |", "|---" * (len(results) + 1) + "|"]
    for method in METHODS:
        cells = [[result["methods"][method][name] for name in names] for result in results.values()]
        lines.append(f"| {method} | " + " | ".join(" / ".join(f"{x:.3f}" for x in cell) for cell in cells) + " |")
    return "\n".join(lines)


def mean_of(results: Sequence[Any]) -> Any:
    """Average nested results of equal structure, number by number."""
    first = results[0]
    if isinstance(first, Mapping):
        return {name: mean_of([result[name] for result in results]) for name in first}
    return np.mean(np.asarray(results, np.float64), 0).tolist()


def is_decreasing(curve: Sequence[float], slack: float = 0.0) -> bool:
    """Check that a curve never rises by more than `slack`."""
    return bool((np.diff(curve) <= slack).all())
