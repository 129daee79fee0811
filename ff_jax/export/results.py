"""Write what a finished run shows: metrics.json, index.html, pictures, a lane-change flight, a PLY file."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ff_jax.camera import make_camera
from ff_jax.config import FuseConfig, to_dict
from ff_jax.data.contract import SceneData
from ff_jax.data.loader import load_image
from ff_jax.evaluate import FrameScore, ShiftScore, Target, by_shift, score, targets
from ff_jax.export.eig_figure import eig_figure
from ff_jax.export.figures import panel_sheet
from ff_jax.export.html import write_page
from ff_jax.export.pixels import save_png
from ff_jax.export.ply import write_ply
from ff_jax.export.report import Panel, Report, Row, curves_of_metrics, shift_name
from ff_jax.export.video import write_mp4
from ff_jax.files import replacing
from ff_jax.scene import compose
from ff_jax.scene.scene import View
from ff_jax.train.feed import Feed, view_of
from ff_jax.train.log import progress, read_metrics
from ff_jax.train.loop import Recipe, Run, count_needed, fitted
from ff_jax.train.progressive import Knowledge, learn, look
from ff_jax.trajectory import interpolate_poses, lane_change, shift_laterally


class Shown(NamedTuple):
    """One finished scene, ready to be looked at."""

    run: Run
    recipe: Recipe
    known: Knowledge
    degree: int

    def look(self, view: View) -> tuple[Float[np.ndarray, "H W 3"], Float[np.ndarray, "H W"]]:
        """Return the render in [0, 1] and the EIG map (nats) of a view."""
        scene = self.run.state.scene
        rgb, gain = look(scene, self.known, view, self.recipe.settings, jnp.int32(self.degree))
        return np.clip(np.asarray(rgb), 0, 1), np.asarray(gain)


def show(run: Run, recipe: Recipe, feed: Feed, views: list[View], config: FuseConfig) -> Shown:
    """Prepare a scene for looking at `views`: learn what is known, and reserve capacity."""
    scene = run.state.scene
    degree = min(int(run.state.step) // recipe.recon.sh_every, recipe.recon.sh_degree)
    settings = fitted(recipe.settings, count_needed(scene, [view.camera for view in views], recipe.settings))
    known = learn(scene, feed, settings, degree, config.eig.priors)
    return Shown(run, dataclasses.replace(recipe, settings=settings), known, degree)


def write_results(
    folder: Path,
    config: FuseConfig,
    log: SceneData,
    feed: Feed,
    versions: Mapping[str, tuple[Run, Recipe]],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Score both versions of a scene and write everything into `folder`.

    Args:
        folder: where results go.
        config: the settings.
        log: the driving log with its test frames.
        feed: its recorded frames.
        versions: "recon" (recorded views only) and "fused".
        facts: what the run wrote about itself.

    Returns:
        What metrics.json holds, the summary as text ("table") and the path of the page ("page").
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen = targets(log, config.evaluate.shifts, config.evaluate.frames)
    flight = flight_views(log, feed, config)
    views = [target.view for target in chosen] + flight[:: max(len(flight) // 8, 1)]
    shown = {name: show(run, recipe, feed, views, config) for name, (run, recipe) in versions.items()}
    scores = {name: score_all(name, version, chosen) for name, version in shown.items()}
    table = {name: by_shift(rows) for name, rows in scores.items()}
    metrics = {
        "log": log.name,
        "shifts": {name: [row._asdict() for row in rows] for name, rows in table.items()},
        "frames": {name: [row._asdict() for row in rows] for name, rows in scores.items()},
        "gaussians": {name: int(version.run.state.scene.alive.sum()) for name, version in shown.items()},
        "noise": {name: float(version.known.noise) for name, version in shown.items()},
        "facts": dict(facts),
    }
    with replacing(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(metrics, indent=2, default=str).replace("NaN", "null"))
    panels = draw_panels(folder, shown, chosen)
    frames = progress(fly(shown["fused"], flight), "flight", total=len(flight))
    write_mp4(folder / "flight.mp4", frames, config.evaluate.fps)
    fused = shown["fused"].run.state.scene
    write_ply(folder / "scene.ply", compose(fused, jnp.float32(0)), fused.alive)
    rows = [_row(*pair) for pair in zip(table["recon"], table["fused"], strict=True)]
    records = read_metrics(folder.parent / "recon" / "metrics.jsonl") + read_metrics(
        folder.parent / "fused" / "metrics.jsonl"
    )
    report = Report(
        title=f"FaithFusion: {log.name}",
        subtitle=log.source,
        facts={"run": dict(facts), "config": to_dict(config)},
        rows=rows,
        panels=panels,
        curves=curves_of_metrics(records, {"psnr": "training PSNR, dB", "loss": "training loss"}),
        video=folder / "flight.mp4",
    )
    write_page(folder / "index.html", report)
    return metrics | {"table": text_table(table["recon"], table["fused"]), "page": str(folder / "index.html")}


def score_all(name: str, version: Shown, chosen: list[Target]) -> list[FrameScore]:
    """Score all targets with a progress bar."""
    return [score(version.look, target) for target in progress(chosen, f"scoring {name}")]


def _row(before: ShiftScore, after: ShiftScore) -> Row:
    named = lambda row: {"PSNR": row.psnr, "SSIM": row.ssim, "EIG": row.eig}
    known = lambda row: {name: value for name, value in named(row).items() if np.isfinite(value)}
    return Row(before.shift, known(before), known(after))


def text_table(before: list[ShiftScore], after: list[ShiftScore]) -> str:
    """Return the summary for the terminal."""
    lines = [
        f"{'shift':>14} {'frames':>6} | {'PSNR recon':>10} {'fused':>6} {'gain':>6} | {'SSIM recon':>10} {'fused':>6}"
        f" | {'EIG recon':>9} {'fused':>6}"
    ]
    for old, new in zip(before, after, strict=True):
        lines.append(
            f"{shift_name(old.shift):>14} {old.frames:>6} | {old.psnr:>10.2f} {new.psnr:>6.2f} "
            f"{new.psnr - old.psnr:>+6.2f} | {old.ssim:>10.3f} {new.ssim:>6.3f} | {old.eig:>9.3f} {new.eig:>6.3f}"
        )
    return "\n".join(lines)


def draw_panels(folder: Path, shown: Mapping[str, Shown], chosen: list[Target]) -> list[Panel]:
    """Draw the middle view of every shift before and after, and write pictures and EIG maps."""
    panels = []
    for shift in sorted({target.shift for target in chosen}):
        group = [target for target in chosen if target.shift == shift]
        target = group[len(group) // 2]
        before, gain = shown["recon"].look(target.view)
        after, _ = shown["fused"].look(target.view)
        truth = load_image(target.frame) if target.has_truth else None
        panels.append(Panel(shift, before, after, truth, gain, f"t = {target.frame.time:.1f} s"))
        save_png(folder / f"eig_{shift:+.2f}m.png", eig_figure(gain, title=f"EIG, {shift_name(shift)}"))
    save_png(folder / "panels.png", panel_sheet(panels))
    return panels


def flight_views(log: SceneData, feed: Feed, config: FuseConfig) -> list[View]:
    """Return the views of a lane-change flight along the path of the first recorded camera."""
    first = feed.frames[0]
    path = [frame for frame in feed.frames if frame.camera == first.camera]
    count = config.evaluate.video_frames
    poses = interpolate_poses(np.stack([frame.world_from_camera for frame in path]), count)
    egos = interpolate_poses(np.stack([log.world_from_ego[frame.time_index] for frame in path]), count)
    views = []
    for i, shift in enumerate(lane_change(count, config.evaluate.video_width)):
        near = path[round(i * (len(path) - 1) / max(count - 1, 1))]
        pose = shift_laterally(poses[i], egos[i], float(shift))
        camera = make_camera(first.K, pose, first.width, first.height)
        views.append(view_of(near, near.exposure_id)._replace(camera=camera))
    return views


def fly(version: Shown, views: list[View]) -> Iterator[Float[np.ndarray, "H W 3"]]:
    """Render a flight frame by frame."""
    see: Callable[[View], Float[np.ndarray, "H W 3"]] = lambda view: version.look(view)[0]
    return map(see, views)
