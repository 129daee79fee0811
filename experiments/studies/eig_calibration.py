"""How well EIG predicts where the render is wrong, beside six other maps, at test views off the recorded path.

python -m experiments.studies.eig_calibration --workdir=runs/eig_world --seeds=0,1,2,3,4 --shifts=1,2,3,6
python -m experiments.studies.eig_calibration --workdir=runs/eig_kitti --source=kitti --seeds=0
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import flags
from jaxtyping import Bool, Float

from experiments.cli import command_line
from experiments.configs import kitti_stereo as kitti_config
from experiments.studies.measures import calibration as study
from experiments.studies.measures.calibration_figure import calibration_figure
from experiments.studies.measures.uncertainty_maps import Maps, learn_scores, score_maps
from ff_jax.data.loader import load_image, load_mask
from ff_jax.data.open import open_log
from ff_jax.evaluation.shifted_views import Target, targets
from ff_jax.export.colormaps import eig_figure
from ff_jax.export.image_bytes import save_png
from ff_jax.export.records import shift_name
from ff_jax.metrics.calibration import miscalibration
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.fuse import claim, recorded_feed
from ff_jax.pipeline.initialize import start_run
from ff_jax.pipeline.phases import is_begun, run_phase
from ff_jax.runtime.atomic_files import replacing
from ff_jax.runtime.run_log import progress
from ff_jax.train.loop import count_needed, fitted

_CONFIG = command_line.config_flag("experiments/configs/fuse.py")  # of the built-in street
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the runs, one below it per seed.", required=True)
_SOURCE = flags.DEFINE_enum("source", "world", ["world", "kitti"], "The built-in street, or KITTI colour stereo.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "Seeds; finished ones are only read.")
_SHIFTS = flags.DEFINE_list("shifts", ["1", "2", "3", "6"], "Lateral shifts of the test views (world), metres.")
_FRAMES = flags.DEFINE_integer("frames", 6, "Test views per shift.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 0, "Training steps; 0 takes those of the config.", lower_bound=0)
_RECORDED = flags.DEFINE_integer("recorded", 24, "Recorded frames of a street; the demo has fewer.", lower_bound=2)
_WIDTH = flags.DEFINE_integer("width", 0, "Width of the images, pixels; 0 takes that of the config.", lower_bound=0)
_BUDGET = flags.DEFINE_integer("budget", 0, "Most Gaussians; 0 takes the config's.", lower_bound=0)
_THRESHOLD = flags.DEFINE_float("threshold", 0.0, "Threshold in nats; 0 chooses it on the first two seeds.")

_INFLATION = flags.DEFINE_float("inflation", 0.0, "Factor on the variance; 0 chooses it on the first two seeds.")


def settings_for(seed: int) -> FuseConfig:
    """Return the settings of one run."""
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
    """Reconstruct one log and judge its test views off the path; return the results per shift and of all."""
    config = settings_for(seed)
    claim(workdir, config, resume=True)
    log = open_log(command_line.with_log_path(config).data, command_line.numbers(_SHIFTS))
    feed = recorded_feed(config, log)
    chosen = [target for target in targets(log, (), _FRAMES.value) if target.has_truth and abs(target.shift) > 0.02]
    run, recipe = start_run(log, feed, config, pool=0, steps=config.steps, shapes_only=is_begun(workdir / "recon"))
    run, recipe = run_phase(workdir / "recon", f"seed {seed}", run, recipe, config.steps, feed, config)
    scene = run.state.scene
    degree = min(int(run.state.step) // recipe.recon.sh_every, recipe.recon.sh_degree)
    needed = count_needed(scene, [target.view for target in chosen], recipe.settings)
    settings = fitted(recipe.settings, needed)
    learnt = learn_scores(scene, feed, settings, degree, config.eig.priors)
    pixels: dict[float, list] = {}
    solid = []
    for target in progress(chosen, f"judging seed {seed}"):
        maps = score_maps(scene, learnt, target.view, settings, jnp.int32(degree))
        usable = (load_mask(target.frame, "valid") > 0.5) & (load_mask(target.frame, "dynamic") < 0.5)
        pixels.setdefault(target.shift, []).append(flat_pixels(maps, target, usable))
        solid.append(flat_pixels(maps, target, usable & (load_mask(target.frame, "sky") < 0.5)))
        if len(pixels[target.shift]) == 1:
            draw(workdir / f"maps_{target.shift:+.2f}m.png", maps, target)
    sets = {shift_name(shift): _joined(parts) for shift, parts in sorted(pixels.items())}
    sets["all"] = _joined([part for parts in pixels.values() for part in parts])
    sets["all but sky"] = _joined(solid)
    return {"noise": float(learnt.noise), "sets": {name: study.summarize(*parts) for name, parts in sets.items()}}


def flat_pixels(
    maps: Maps, target: Target, usable: Bool[np.ndarray, "H W"]
) -> tuple[dict, dict, Float[np.ndarray, "P"], Float[np.ndarray, "P"]]:
    """Return scores, standard deviations and errors of the usable pixels of one view."""
    flat = lambda by_name: {name: np.asarray(values)[usable] for name, values in by_name.items()}
    errors = study.pixel_errors(np.asarray(maps.rgb), load_image(target.frame), usable)
    return flat(maps.scores), flat(maps.std), *errors


def _joined(parts: list[tuple]) -> tuple:
    """Return the pixels of several views as one set."""
    join = lambda dicts: {name: np.concatenate([d[name] for d in dicts]) for name in dicts[0]}
    scores, std, absolute, squared = zip(*parts, strict=True)
    return join(scores), join(std), np.concatenate(absolute), np.concatenate(squared)


def draw(path: Path, maps: Maps, target: Target) -> None:
    """Save the EIG map of a view beside its error."""
    error = np.abs(np.clip(np.asarray(maps.rgb), 0, 1) - load_image(target.frame)).mean(-1)
    rgb = np.clip(np.asarray(maps.rgb), 0, 1)
    save_png(path, eig_figure(maps.scores["exact_block"], render=rgb, title=f"EIG, {shift_name(target.shift)}"))
    title = "absolute error (in place of nats)"
    save_png(path.with_name(f"error_{path.name}"), eig_figure(error.astype(np.float32), render=rgb, title=title))


def report(results: dict[int, dict[str, Any]], out: Path) -> str:
    """Write charts, numbers and the table of all seeds; return the table."""
    mean = study.mean_of([result["sets"] for result in results.values()])
    for name, values in mean.items():
        file = name.replace(" ", "_")
        title = f"{_SOURCE.value}, {name}, seeds: {len(results)}"
        calibration_figure(values, out / f"{file}.png", title)
    every = [result["sets"]["all"] for result in results.values()]
    threshold = _THRESHOLD.value or study.choose_threshold(every[:2])
    noises = [result["noise"] for result in results.values()]
    inflation = _INFLATION.value or study.choose_inflation(every[:2], noises[:2])
    lines = [study.text_table(mean), "", f"Threshold {threshold:.3f} nats (wrong: error above {study.BAD}):", ""]
    lines += [
        "| seed | PSNR | noise | separation there | best | share above | PSNR falls (largest step) |"
        f" miscalibration block, diag | block, variance x {inflation:.2f} | off by | then |",
        "|---" * 11 + "|",
    ]
    for seed, one, noise in zip(results, every, noises, strict=True):
        lines.append(f"| {seed} | {one['psnr']:.2f} | {noise:.4f} | {verdict(one, noise, threshold, inflation)} |")
    text = "\n".join(lines) + "\n"
    summary = {"threshold": threshold, "inflation": inflation, "mean": mean}
    for name, content in (("table.md", text), ("study.json", json.dumps(summary))):
        with replacing(out / name) as temporary:
            temporary.write_text(content)
    return text


def verdict(result: dict[str, Any], noise: float, threshold: float, inflation: float) -> str:
    """Return the columns of one run that a threshold and an inflation of the variance decide about."""
    curve = result["methods"]["exact_block"]["admitted_psnr"]
    falls = f"{study.falls(curve)} ({np.diff(curve).max():+.2f} dB)"
    off = ", ".join(f"{result['reliability'][name]['miscalibration']:.2f}" for name in ("block", "diag"))
    before, after = (study.inflated(result["reliability"]["block"], noise, factor) for factor in (1.0, inflation))
    separation = " | ".join(f"{value:.3f}" for value in study.at_threshold(result, threshold))
    calibrated = f"{miscalibration(after):.2f} | {study.off_by(before):.2f} | {study.off_by(after):.2f}"
    return f"{separation} | {falls} | {off} | {calibrated}"


def main(_: list[str]) -> None:
    """Run all seeds (finished ones are only read), then write the report."""
    out, results = Path(_WORKDIR.value), {}
    for seed in command_line.numbers(_SEEDS, int):
        written = out / f"seed{seed}" / "study.json"
        if not written.is_file():
            result = study_seed(seed, out / f"seed{seed}")
            with replacing(written) as temporary:
                temporary.write_text(json.dumps(result))
        results[seed] = json.loads(written.read_text())
        calibration_figure(results[seed]["sets"]["all"], out / f"seed{seed}" / "all.png", f"seed {seed}, all shifts")
    print(report(results, out) + f"{out}: table.md, study.json and charts")


if __name__ == "__main__":
    command_line.run(main)
