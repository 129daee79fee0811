"""From the maps and errors of one run to numbers, and from the numbers of several runs to a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from experiments.studies.measures.uncertainty_maps import METHODS
from ff_jax.metrics import calibration as cal

FRACTIONS = np.linspace(0.0, 0.95, 20)  # removed
ADMITTED = np.linspace(0.05, 1.0, 20)
THRESHOLDS = np.geomspace(1e-3, 30, 60)  # nats
INFLATIONS = np.geomspace(0.25, 64, 97)  # of the variance
BAD = 0.1  # mean absolute error over the channels above which a pixel counts as wrong
_RANK = 200_000  # pixels enough to rank


def pixel_errors(
    rgb: Float[np.ndarray, "H W 3"], truth: Float[np.ndarray, "H W 3"], valid: Bool[np.ndarray, "H W"]
) -> tuple[Float[np.ndarray, "P"], Float[np.ndarray, "P"]]:
    """Return the absolute and the squared error of every valid pixel, mean over the channels."""
    difference = np.clip(rgb, 0, 1)[valid].astype(np.float64) - truth[valid]
    return np.abs(difference).mean(-1), (difference**2).mean(-1)


def summarize(
    scores: Mapping[str, Float[np.ndarray, "P"]],
    std: Mapping[str, Float[np.ndarray, "P"]],
    absolute: Float[np.ndarray, "P"],
    squared: Float[np.ndarray, "P"],
) -> dict[str, Any]:
    """Return every number that the study reports about a set of pixels, ready for JSON.

    Args:
        scores: by method.
        std: predicted standard deviations, by structure of the posterior.
        absolute: error of every pixel.
        squared: squared error of every pixel.
    """
    some = slice(None, None, max(len(absolute) // _RANK, 1))
    methods = {}
    for name, score in scores.items():
        score = np.asarray(score, np.float64)
        methods[name] = {
            "spearman": cal.spearman(score[some], absolute[some]),
            "ause": cal.ause(score, absolute),
            "sparsification": (cal.sparsification(score, absolute, FRACTIONS) / absolute.mean()).tolist(),
            "admitted_psnr": cal.admitted_psnr(score, squared, ADMITTED).tolist(),
        }
    groups = {name: cal.reliability(np.asarray(values, np.float64), squared) for name, values in std.items()}
    hit, false = cal.rates(np.asarray(scores["exact_block"], np.float64), absolute > BAD, THRESHOLDS)
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
        "wrong": float(np.mean(absolute > BAD)),
        "rates": {"hit": hit.tolist(), "false": false.tolist()},
    }


def separation(result: Mapping[str, Any]) -> Float[np.ndarray, "F"]:
    """Return, per threshold, how much likelier a wrong pixel reaches it than a right one (Youden's index)."""
    return np.subtract(result["rates"]["hit"], result["rates"]["false"])


def choose_threshold(results: Sequence[Mapping[str, Any]]) -> float:
    """Return the EIG (nats) that separates wrong from right pixels best, on average over some runs."""
    return float(THRESHOLDS[np.argmax(np.mean([separation(result) for result in results], 0))])


def at_threshold(result: Mapping[str, Any], threshold: float) -> tuple[float, float, float]:
    """Return the separation of one run at a threshold (nats), at the best one for it, and the share of pixels above."""
    index = int(np.argmin(np.abs(np.log(THRESHOLDS / threshold))))
    curve, wrong, rates = separation(result), result["wrong"], result["rates"]
    above = wrong * rates["hit"][index] + (1 - wrong) * rates["false"][index]
    return float(curve[index]), float(curve.max()), float(above)


def inflated(group: Mapping[str, Sequence[float]], noise: float, inflation: float) -> cal.Reliability:
    """Return a reliability curve as if the posterior's part of the predicted variance were `inflation` times as large.

    Args:
        group: "predicted" and "observed" of `summarize`.
        noise: standard deviation of a channel that every prediction includes.
        inflation: factor on the variance beyond noise^2. It does not change the order of the pixels.
    """
    beyond = np.maximum(np.square(group["predicted"]) - noise**2, 0)
    return cal.Reliability(np.sqrt(noise**2 + inflation * beyond), np.asarray(group["observed"], np.float64))


def off_by(group: cal.Reliability) -> float:
    """Return the factor, at least 1, by which predicted and observed deviations differ (geometric mean)."""
    return float(np.exp(np.mean(np.abs(np.log(group.observed / group.predicted)))))


def choose_inflation(results: Sequence[Mapping[str, Any]], noise: Sequence[float]) -> float:
    """Return the inflation of the block posterior's variance that calibrates best, on average over some runs."""
    groups = [result["reliability"]["block"] for result in results]
    loss = lambda factor: sum(np.log(off_by(inflated(g, n, factor))) for g, n in zip(groups, noise, strict=True))
    return float(min(INFLATIONS, key=loss))


def text_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a Markdown table: AUSE and Spearman correlation per method; columns are named sets of pixels."""
    lines = ["| method | " + " | ".join(f"{name}: AUSE / rho" for name in results) + " |"]
    lines.append("|---" * (len(results) + 1) + "|")
    for method in METHODS:
        cells = [result["methods"][method] for result in results.values()]
        lines.append(f"| {method} | " + " | ".join(f"{c['ause']:.3f} / {c['spearman']:.3f}" for c in cells) + " |")
    return "\n".join(lines)


def mean_of(results: Sequence[Any]) -> Any:
    """Average results of one structure, number by number."""
    first = results[0]
    if isinstance(first, Mapping):
        return {name: mean_of([result[name] for result in results]) for name in first}
    return np.mean(np.asarray(results, np.float64), 0).tolist()


def falls(curve: Sequence[float], slack: float = 0.0) -> bool:
    """Return whether a curve never rises by more than `slack`."""
    return bool((np.diff(curve) <= slack).all())
