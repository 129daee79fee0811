"""Study calibration: how well EIG and other maps predict the errors of renders off the recorded path.

python -m experiments.studies.eig_calibration --workdir=runs/eig_world --seeds=0,1,2,3,4 --shifts=1,2,3,6
python -m experiments.studies.eig_calibration --workdir=runs/eig_kitti --source=kitti --seeds=0
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from jaxtyping import Array, Bool, Float

from experiments.cli import command_line
from experiments.configs import kitti_stereo as kitti_config
from experiments.studies.measures import calibration as study
from experiments.studies.measures.calibration_figure import calibration_figure
from experiments.studies.measures.reconstruction import reconstruct_log
from experiments.studies.measures.uncertainty_maps import UncertaintyMaps, collect_statistics, uncertainty_maps
from ff_jax.data.loader import load_image, load_mask
from ff_jax.data.open import open_log
from ff_jax.evaluation.shifted_views import Target, targets
from ff_jax.export.colormaps import eig_figure
from ff_jax.export.image_bytes import save_png
from ff_jax.export.records import shift_name
from ff_jax.metrics.calibration import miscalibration
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.fuse import check_workdir, write_facts
from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.runtime.progress import progress

_CONFIG = command_line.config_flag("experiments/configs/fuse.py:cpu")  # of the synthetic street
_WORKDIR = command_line.workdir_flag()
_SOURCE = flags.DEFINE_enum("source", "world", ["world", "kitti"], "The synthetic street, or KITTI color stereo.")
_SEEDS = command_line.seeds_flag(5)
_SHIFTS = flags.DEFINE_list("shifts", ["1", "2", "3", "6"], "Lateral shifts of the test views (world), meters.")
_FRAMES = flags.DEFINE_integer("frames", 6, "Test views per shift.", lower_bound=1, upper_bound=100_000)
_STEPS = flags.DEFINE_integer(
    "steps", 0, "Training steps; 0: as in the config.", lower_bound=0, upper_bound=100_000_000
)
_RECORDED = flags.DEFINE_integer(
    "recorded", 24, "Recorded frames of a street; more than in the demo.", lower_bound=2, upper_bound=1_000_000
)
_WIDTH = flags.DEFINE_integer(
    "width", 0, "Width of the images, pixels; 0: as in the config.", lower_bound=0, upper_bound=16_384
)
_BUDGET = flags.DEFINE_integer(
    "budget", 0, "Largest number of Gaussians; 0: as in the config.", lower_bound=0, upper_bound=100_000_000
)
_THRESHOLD = flags.DEFINE_float(
    "threshold", 0.0, "Threshold in nats; 0: the best one of the first two seeds.", lower_bound=0.0, upper_bound=1e06
)
_INFLATION = flags.DEFINE_float(
    "inflation",
    0.0,
    "Factor on the variance; 0: the best one of the first two seeds.",
    lower_bound=0.0,
    upper_bound=1e06,
)


def settings_for(seed: int) -> FuseConfig:
    """Build the settings of one run."""
    config = command_line.to_config(_CONFIG.value if _SOURCE.value == "world" else kitti_config.get_config())
    data = dataclasses.replace(config.data, seed=seed, frames=_RECORDED.value)
    if _WIDTH.value:  # a log keeps the shape of its images
        data = dataclasses.replace(data, width=_WIDTH.value, height=round(_WIDTH.value * 8 / 13))
    steps = _STEPS.value or config.steps
    schedule = dataclasses.replace(config.schedule, start=min(config.schedule.start, steps))
    density = config.recon.density
    share = steps / config.steps
    density = dataclasses.replace(density, start=int(density.start * share), stop=int(density.stop * share))
    budget = _BUDGET.value or config.recon.budget
    recon = dataclasses.replace(config.recon, density=density, budget=budget)
    return dataclasses.replace(config, seed=seed, steps=steps, data=data, schedule=schedule, recon=recon)


def study_seed(seed: int, workdir: Path) -> dict[str, Any]:
    """Reconstruct one log and score the maps of its test views off the path, per shift and over all."""
    config = settings_for(seed)
    log = open_log(command_line.with_log_path(config).data, command_line.parse_numbers(_SHIFTS))
    check_workdir(workdir, config, log, resume=True)
    write_facts(workdir, config, log)
    views = [target for target in targets(log, (), _FRAMES.value) if target.has_truth and abs(target.shift) > 0.02]
    run = reconstruct_log(log, config, workdir / "recon", description=f"seed {seed}")
    model = run.reserve([target.view for target in views]).scene
    statistics = collect_statistics(model, run.batches, config.eig.priors)
    by_shift: dict[float, list[ScoredPixels]] = {}
    without_sky = []
    for target in progress(views, f"scoring seed {seed}"):
        maps = uncertainty_maps(statistics, target.view, target.frame)
        usable = (load_mask(target.frame, "valid") > 0.5) & (load_mask(target.frame, "dynamic") < 0.5)
        by_shift.setdefault(target.shift, []).append(select_pixels(maps, target, usable))
        without_sky.append(select_pixels(maps, target, usable & (load_mask(target.frame, "sky") < 0.5)))
        if len(by_shift[target.shift]) == 1:
            draw_maps(workdir / f"maps_{target.shift:+.2f}m.png", maps, target, log.unit)
    sets = {shift_name(shift, log.unit): _join(parts) for shift, parts in sorted(by_shift.items())}
    sets["all"] = _join([part for parts in by_shift.values() for part in parts])
    sets["all but sky"] = _join(without_sky)
    correlated = [float(value) for value in statistics.calibration.correlated]  # geometry, color
    return {
        "noise": float(statistics.noise),
        "correlated_pixels": correlated,
        "sets": {name: study.summarize(*part) for name, part in sets.items()},
    }


class ScoredPixels(NamedTuple):
    """The pixels of some views, with what the methods predict and the errors of the render."""

    scores: dict[str, Float[np.ndarray, "P"]]  # by method
    std: dict[str, Float[np.ndarray, "P"]]  # by structure of the posterior
    absolute: Float[np.ndarray, "P"]  # mean absolute error over the channels
    squared: Float[np.ndarray, "P"]
    dissimilarity: Float[np.ndarray, "P"]  # (1 - SSIM) / 2


def select_pixels(maps: UncertaintyMaps, target: Target, usable: Bool[np.ndarray, "H W"]) -> ScoredPixels:
    """Collect the usable pixels of one view."""

    def select(by_name: Mapping[str, Float[Array, "H W"]]) -> dict[str, Float[np.ndarray, "P"]]:
        return {name: np.asarray(values)[usable] for name, values in by_name.items()}

    images = np.asarray(maps.rgb), load_image(target.frame), usable
    errors = *study.pixel_errors(*images), study.pixel_dissimilarity(*images)
    return ScoredPixels(select(maps.scores), select(maps.std), *errors)


def _join(parts: Sequence[ScoredPixels]) -> ScoredPixels:
    """Join the pixels of several views."""

    def join(by_name: Sequence[Mapping[str, Float[np.ndarray, "P"]]]) -> dict[str, Float[np.ndarray, "P"]]:
        return {name: np.concatenate([part[name] for part in by_name]) for name in by_name[0]}

    scores, std, *errors = zip(*parts, strict=True)
    return ScoredPixels(join(scores), join(std), *map(np.concatenate, errors))


def draw_maps(path: Path, maps: UncertaintyMaps, target: Target, unit: str = "m") -> None:
    """Save the EIG map of a view beside its error."""
    error = np.abs(np.clip(np.asarray(maps.rgb), 0, 1) - load_image(target.frame)).mean(-1)
    rgb = np.clip(np.asarray(maps.rgb), 0, 1)
    save_png(path, eig_figure(maps.scores["exact"], render=rgb, title=f"EIG, {shift_name(target.shift, unit)}"))
    title = "absolute error (not in nats)"
    save_png(path.with_name(f"error_{path.name}"), eig_figure(error.astype(np.float32), render=rgb, title=title))


def report(results: dict[int, dict[str, Any]], out: Path) -> str:
    """Write charts, figures and the table of all seeds; return the table."""
    mean = study.mean_of([result["sets"] for result in results.values()])
    for name, values in mean.items():
        file = name.replace(" ", "_")
        title = f"{_SOURCE.value}, {name}, seeds: {len(results)}"
        calibration_figure(values, out / f"{file}.png", title)
    every = [result["sets"]["all"] for result in results.values()]
    threshold = _THRESHOLD.value or study.choose_threshold(every[:2])
    noises = [result["noise"] for result in results.values()]
    inflation = _INFLATION.value or study.choose_inflation(every[:2], noises[:2])
    lines = [
        study.text_table(mean),
        "",
        f"Threshold {threshold:.3f} nats (wrong: error above {study.WRONG_ERROR}):",
        "",
    ]
    lines += [
        "| seed | PSNR | noise | separation there | best | share above | PSNR falls (largest step) |"
        f" miscalibration block, diag | block, variance x {inflation:.2f} | off by | then | calibrated |"
        " correlated pixels: geometry, color |",
        "|---" * 13 + "|",
    ]
    for (seed, result), one, noise in zip(results.items(), every, noises, strict=True):
        correlated = ", ".join(f"{value:.1f}" for value in result["correlated_pixels"])
        row = f"{one['psnr']:.2f} | {noise:.4f} | {verdict(one, noise, threshold, inflation)} | {correlated}"
        lines.append(f"| {seed} | {row} |")
    text = "\n".join(lines) + "\n"
    summary = {"threshold": threshold, "inflation": inflation, "mean": mean}
    for name, content in (("table.md", text), ("study.json", json.dumps(summary))):
        with atomic_write(out / name) as temporary:
            temporary.write_text(content)
    return text


def verdict(result: dict[str, Any], noise: float, threshold: float, inflation: float) -> str:
    """Format the columns of one run that depend on the threshold and the inflation of the variance."""
    curve = result["methods"]["exact"]["admitted_psnr"]
    falls = f"{study.is_decreasing(curve)} ({np.diff(curve).max():+.2f} dB)"
    off = ", ".join(f"{result['reliability'][name]['miscalibration']:.2f}" for name in ("block", "diag"))
    before, after = (study.inflate(result["reliability"]["block"], noise, factor) for factor in (1.0, inflation))
    separation = " | ".join(f"{value:.3f}" for value in study.at_threshold(result, threshold))
    groups = before, after, study.inflate(result["reliability"]["calibrated"], 0.0, 1.0)
    factors = " | ".join(f"{study.deviation_factor(group):.2f}" for group in groups)
    return f"{separation} | {falls} | {off} | {miscalibration(after):.2f} | {factors}"


def main(_: list[str]) -> None:
    """Study all seeds that are not finished, then write the report."""
    out, results = Path(_WORKDIR.value), {}
    for seed in command_line.parse_numbers(_SEEDS, int):
        path = out / f"seed{seed}" / "study.json"
        if not path.is_file():
            result = study_seed(seed, out / f"seed{seed}")
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(result))
        results[seed] = json.loads(path.read_text())
        calibration_figure(results[seed]["sets"]["all"], out / f"seed{seed}" / "all.png", f"seed {seed}, all shifts")
    print(report(results, out) + f"{out}: table.md, study.json and charts")


if __name__ == "__main__":
    command_line.run(main)
