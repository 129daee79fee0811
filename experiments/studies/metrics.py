"""Check the metrics: their reaction to known degradations, and the effect of open choices in their protocols.

python -m experiments.studies.metrics --workdir=runs/metrics

Part 1 degrades ground-truth images and labels of the synthetic street: blur, noise, shifted labels. Part 2 measures one
set of images with variants of each protocol (docs/benchmark_protocol.md).
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments.cli import command_line, metric_networks
from experiments.studies.measures import metric_protocols
from experiments.studies.measures.degradations import (
    BLUR,
    LATERAL,
    NOISE,
    Degradation,
    degraded_renderers,
    shift_labels,
    version_name,
)
from ff_jax.data.scene_data import SceneData
from ff_jax.data.synthetic import Street, StreetConfig, make_street
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.evaluation import summary
from ff_jax.evaluation.benchmark import ScoreTable, score_log
from ff_jax.evaluation.ground_truth import Networks
from ff_jax.evaluation.renderers import true_renderer
from ff_jax.evaluation.shifted_views import targets
from ff_jax.export.figures import draw_curves
from ff_jax.export.image_bytes import save_png
from ff_jax.export.records import Curve, Series
from ff_jax.export.tables import Table, as_markdown, as_text
from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.runtime.progress import progress

flags.adopt_module_key_flags(metric_networks)  # --help lists them
_WORKDIR = command_line.workdir_flag("Folder of the results.")
_SEEDS = command_line.seeds_flag(3, "Seeds of the streets.")
_FRAMES = flags.DEFINE_integer(
    "frames", 12, "Views per street; half of them are a set for FID.", lower_bound=4, upper_bound=100_000
)
_WIDTH = flags.DEFINE_integer("width", 640, "Width of the images, pixels.", lower_bound=1, upper_bound=16_384)
_HEIGHT = flags.DEFINE_integer("height", 384, "Height of the images, pixels.", lower_bound=1, upper_bound=16_384)

SHIFT = 3.0  # meters, for part 2
# Required change of each metric when a degradation grows: +1 rise, -1 fall, 0 either.
REQUIRED = {
    "psnr": {"blur": -1, "noise": -1},
    "ssim": {"blur": -1, "noise": -1},
    "lpips": {"blur": 1, "noise": 1},
    "fid": {"blur": 1, "noise": 1},
    "kid": {"blur": 1, "noise": 1},
    "nta": {"blur": -1, "noise": -1, "lateral": -1},
    "nta_strict": {"blur": -1, "noise": -1, "lateral": -1},
    "ntl": {"blur": -1, "noise": -1, "lateral": -1},
    "lane": {"blur": -1, "noise": -1, "lateral": -1},
    "lane_strict": {"blur": -1, "noise": -1, "lateral": -1},
    "background": {"blur": 0, "noise": 0, "lateral": 0},
    "depth_mae": {"noise": 1},
    "depth_delta": {"noise": -1},
    "warp": {"blur": 0, "noise": 1},
}
HEADS = {metric.key: metric.head.rstrip("^_") for metric in (*summary.MAIN, *summary.STRICT)}


def main(_: list[str]) -> None:
    """Run both parts, draw, write and print."""
    workdir = Path(_WORKDIR.value)
    networks, sources = metric_networks.load()
    networks = networks._replace(detector=_cache_results(networks.detector), lanes=_cache_results(networks.lanes))
    values, rows = {}, []
    for seed in command_line.parse_numbers(_SEEDS, int):
        log, street = _street(seed)
        scores = _score_degradations(log, street, networks)
        for version, _ in scores.measurements:
            means = {key: value.mean for key, value in summary.summarize(scores, version, 0.0).items()}
            values.setdefault(version, []).append(means)
        rows.append(metric_protocols.measure(log, SHIFT, networks))
    curves = _curves(values)
    save_png(workdir / "sanity.png", draw_curves(curves, columns=4))
    tables = [_verdicts(values), metric_protocols.table(rows)]
    content = {"values": values, "variants": rows, "networks": sources, "seeds": _SEEDS.value}
    with atomic_write(workdir / "metrics.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2).replace("NaN", "null"))
    with atomic_write(workdir / "tables.md") as temporary:
        temporary.write_text("\n\n".join(map(as_markdown, tables)) + "\n", encoding="utf-8")
    print("\n\n".join(map(as_text, tables)))
    print(f"image: {workdir / 'sanity.png'}")


def _cache_results(network: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    """Wrap a network so that it runs once per image: moved labels and protocol variants do not change images."""
    cache: dict[bytes, Any] = {}

    def run(image: Any) -> Any:
        key = hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()
        if key not in cache:
            cache[key] = network(image)
        return cache[key]

    return network and run


def _street(seed: int) -> tuple[SceneData, Street]:
    config = StreetConfig(num_frames=_FRAMES.value, moving=False)
    log = street_log(seed, config, _WIDTH.value, _HEIGHT.value, test_shifts=(SHIFT,))
    return log, make_street(seed, config)


def _score_degradations(log: SceneData, street: Street, networks: Networks) -> ScoreTable:
    """Score ground-truth images with each degradation at each level."""
    views = [target for target in targets(log, (0.0,), 10**9) if target.shift == 0]
    scores = score_log(log, progress(views, f"degradations of {log.name}"), degraded_renderers(street), networks)

    label_networks = networks._replace(inception=None, lpips=None)
    for level in LATERAL.levels:
        renderers = {version_name(LATERAL, level): true_renderer}
        scores.measurements |= score_log(shift_labels(log, level), views, renderers, label_networks).measurements
    return scores


def _series(
    values: Mapping[str, Sequence[Mapping[str, float]]], key: str, degradation: Degradation
) -> np.ndarray | None:
    """Read a metric by level and seed; None if it was not measured."""
    table = [
        [seed.get(key, np.nan) for seed in values[version_name(degradation, level)]] for level in degradation.levels
    ]
    return None if np.isnan(table).all() else np.array(table, float)


def _curves(values: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Curve]:
    """Make one chart per metric: mean and standard deviation over streets, by level of each degradation."""
    curves = []
    for key, signs in REQUIRED.items():
        lines = []
        for degradation in (BLUR, NOISE, LATERAL):
            series = _series(values, key, degradation) if degradation.name in signs else None
            if series is not None:
                is_finite = np.isfinite(series).all(1)  # the PSNR of equal images is infinite
                mean, std = series[is_finite].mean(1), series[is_finite].std(1)
                label = f"{degradation.name} {', '.join(f'{level:g}' for level in degradation.levels)}"
                lines.append(Series(label, np.flatnonzero(is_finite).tolist(), mean, mean - std, mean + std))
        if lines:
            curves.append(Curve(HEADS[key], "level", lines))
    return curves


def _verdict(values: np.ndarray, sign: int) -> str:
    """Check that a metric (levels by streets) is monotone; opposite steps count above twice their standard error."""
    if not sign:
        return "not required"
    steps = np.diff(values[np.isfinite(values).all(1)], axis=0) * sign
    mean = steps.mean(1)
    if (mean >= 0).all():
        return "yes"
    error = steps.std(1, ddof=1) / np.sqrt(steps.shape[1]) if steps.shape[1] > 1 else np.zeros(len(steps))
    size = f"{-mean.min():.2g}"
    return f"no, by {size}" if (-mean > 2 * error).any() else f"within noise ({size} against)"


def _verdicts(values: Mapping[str, Sequence[Mapping[str, float]]]) -> Table:
    """Tabulate each metric at each level, and whether its mean over streets is monotone as required."""
    rows = []
    for key, signs in REQUIRED.items():
        for degradation in (BLUR, NOISE, LATERAL):
            series = _series(values, key, degradation) if degradation.name in signs else None
            if series is None:
                continue
            mean = [row[np.isfinite(row)].mean() if np.isfinite(row).any() else np.nan for row in series]
            rows.append(
                (
                    HEADS[key],
                    degradation.name,
                    *(f"{value:.4g}" for value in mean),
                    _verdict(series, signs[degradation.name]),
                )
            )
    return Table(
        "Degradations at increasing levels (means over streets)",
        ("metric", "degradation", *map(str, range(5)), "monotone"),
        rows,
    )


if __name__ == "__main__":
    command_line.run(main)
