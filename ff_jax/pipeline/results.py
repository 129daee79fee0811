"""Write what a finished run shows: metrics.json, index.html, pictures, a lane-change flight, a PLY file."""

import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import SceneData
from ff_jax.eig.scene_posterior import Clip, Knowledge, learn, look
from ff_jax.evaluation.error_maps import held_out_maps, map_sheet
from ff_jax.evaluation.shifted_views import FrameScore, ShiftScore, Target, by_shift, score, targets
from ff_jax.export.colormaps import eig_figure
from ff_jax.export.figures import panel_sheet
from ff_jax.export.html import write_page
from ff_jax.export.image_bytes import save_png
from ff_jax.export.ply import write_ply
from ff_jax.export.records import Panel, Report, Row, curves_of_metrics, shift_name
from ff_jax.export.video import VideoError, write_mp4
from ff_jax.pipeline.config import FuseConfig, to_dict
from ff_jax.render.camera import make_camera
from ff_jax.render.trajectories import interpolate_poses, lane_change, shift_laterally
from ff_jax.runtime.atomic_files import replacing
from ff_jax.runtime.run_log import progress, read_metrics
from ff_jax.scene import compose
from ff_jax.scene.scene import View
from ff_jax.train.batches import Feed, view_of
from ff_jax.train.loop import Recipe, Run, count_needed, fitted


class Version(NamedTuple):
    """One trained scene."""

    run: Run
    recipe: Recipe


class Shown(NamedTuple):
    """One trained scene, ready to be looked at."""

    version: Version
    known: Knowledge
    degree: int

    def clip(self, view: View) -> Clip:
        """Return the render in [0, 1], the EIG map (nats) and the depth (metres) of a view."""
        scene, settings = self.version.run.state.scene, self.version.recipe.settings
        seen = look(scene, self.known, view, settings, jnp.int32(self.degree))
        return Clip(np.clip(np.asarray(seen.rgb), 0, 1), np.asarray(seen.eig), np.asarray(seen.depth))

    def look(self, view: View) -> tuple[Float[np.ndarray, "H W 3"], Float[np.ndarray, "H W"]]:
        """Return the render in [0, 1] and the EIG map (nats) of a view."""
        rgb, gain, _ = self.clip(view)
        return rgb, gain


def show(version: Version, feed: Feed, views: Sequence[View], config: FuseConfig) -> Shown:
    """Prepare a scene for looking at `views`: reserve capacity, and learn what the recorded views leave open."""
    run, recipe = version
    scene = run.state.scene
    degree = min(int(run.state.step) // recipe.recon.sh_every, recipe.recon.sh_degree)
    settings = fitted(recipe.settings, count_needed(scene, views, recipe.settings))
    known = learn(scene, feed, settings, degree, config.eig.priors)
    return Shown(Version(run, dataclasses.replace(recipe, settings=settings)), known, degree)


def write_results(
    folder: Path,
    config: FuseConfig,
    log: SceneData,
    feed: Feed,
    versions: Mapping[str, Version],
    facts: Mapping[str, Any],
    logs: Sequence[Path] = (),
) -> dict[str, Any]:
    """Score every version of a scene and write everything into `folder`.

    Args:
        folder: where results go.
        config: the settings.
        log: the driving log with its test frames.
        feed: its recorded frames.
        versions: by name; the last one is shown in the flight and as PLY, the first is what it is compared with.
        facts: what the run wrote about itself.
        logs: metrics.jsonl files to draw as training curves.

    Returns:
        What metrics.json holds, and the summary as text ("table") and the path of the page ("page").
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen = targets(log, config.evaluate.shifts, config.evaluate.frames)
    flight = flight_views(log, feed, config)
    views = [target.view for target in chosen] + flight[:: max(len(flight) // 8, 1)]
    shown = {name: show(version, feed, views, config) for name, version in versions.items()}
    scores = {name: score_all(name, scene, chosen, log) for name, scene in shown.items()}
    table = {name: by_shift(rows) for name, rows in scores.items()}
    metrics = collect(log, shown, scores, table, facts)
    with replacing(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(metrics, indent=2, default=str).replace("NaN", "null"))
    names = (next(iter(shown)), list(shown)[-1])[: len(shown)]
    last = list(shown.values())[-1]
    maps = held_out_maps(last.clip, chosen, moving=last.version.run.state.scene.tracks is not None)
    if maps:
        save_png(folder / "maps.png", map_sheet(maps))
    panels = draw_panels(folder, list(shown.values()), chosen, names)
    scene = last.version.run.state.scene
    write_ply(folder / "scene.ply", *jax.jit(compose)(scene, jnp.float32(0))[:2])
    report = Report(
        title=f"FaithFusion: {log.name}",
        subtitle=log.source,
        facts={"run": dict(facts), "config": to_dict(config)},
        rows=_rows(list(table.values())),
        panels=panels,
        curves=_curves(logs),
        video=write_flight(folder / "flight.mp4", last, flight, config.evaluate.fps),
        names=names,
    )
    write_page(folder / "index.html", report)
    return metrics | {"table": text_table(table), "page": str(folder / "index.html")}


def collect(
    log: SceneData,
    shown: Mapping[str, Shown],
    scores: Mapping[str, list[FrameScore]],
    table: Mapping[str, list[ShiftScore]],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the content of metrics.json: units are metres, dB, nats; null where there is no ground truth."""
    alive = lambda scene: int(scene.version.run.state.scene.alive.sum())
    return {
        "log": log.name,
        "shifts": {name: [row._asdict() for row in rows] for name, rows in table.items()},
        "frames": {name: [row._asdict() for row in rows] for name, rows in scores.items()},
        "gaussians": {name: alive(scene) for name, scene in shown.items()},
        "noise": {name: float(scene.known.noise) for name, scene in shown.items()},
        "facts": dict(facts),
    }


def score_all(name: str, scene: Shown, chosen: list[Target], log: SceneData) -> list[FrameScore]:
    """Score all targets with a progress bar."""
    moving = scene.version.run.state.scene.tracks is not None
    return [score(scene.clip, target, log, moving=moving) for target in progress(chosen, f"scoring {name}")]


def _rows(tables: list[list[ShiftScore]]) -> list[Row]:
    """Return the rows of the page: the first version against the last, if there are two."""

    def named(row: ShiftScore) -> dict[str, float]:
        values = {"PSNR": row.psnr, "PSNR moving": row.psnr_dynamic, "SSIM": row.ssim, "EIG": row.eig}
        values |= {"LiDAR median, m": row.depth_median, "LiDAR mean, m": row.depth_mae, "LiDAR relative": row.depth_rel}
        return {name: value for name, value in values.items() if np.isfinite(value)}

    if len(tables) == 1:
        return [Row(row.shift, named(row), {}) for row in tables[0]]
    return [Row(a.shift, named(a), named(b)) for a, b in zip(tables[0], tables[-1], strict=True)]


def _curves(logs: Sequence[Path]) -> list:
    records = [record for path in logs for record in read_metrics(path)]
    return curves_of_metrics(records, {"psnr": "training PSNR, dB", "loss": "training loss"})


def text_table(table: Mapping[str, list[ShiftScore]]) -> str:
    """Return the summary for the terminal; with two versions also the gain of the last over the first."""
    tables = list(table.values())
    gain = len(tables) > 1
    header = [f"{'shift':>14} {'frames':>6}"] + [f"{name:>25}" for name in table]
    lines = [" | ".join(header + ["   gain"] * gain)]
    lines.append(" | ".join([" " * 21] + [f"{'PSNR':>8} {'SSIM':>7} {'EIG':>8}"] * len(tables) + ["   PSNR"] * gain))
    for rows in zip(*tables, strict=True):
        cells = [f"{shift_name(rows[0].shift):>14} {rows[0].frames:>6}"]
        cells += [f"{row.psnr:>8.2f} {row.ssim:>7.3f} {row.eig:>8.3f}" for row in rows]
        lines.append(" | ".join(cells + [f"{rows[-1].psnr - rows[0].psnr:>+7.2f}"] * gain))
    return "\n".join(lines).replace("nan", "  -")


def draw_panels(folder: Path, shown: Sequence[Shown], chosen: list[Target], names: tuple[str, ...]) -> list[Panel]:
    """Draw the middle view of every shift before and after, and write pictures and EIG maps."""
    panels = []
    for shift in sorted({target.shift for target in chosen}):
        group = [target for target in chosen if target.shift == shift]
        target = group[len(group) // 2]
        before, gain = shown[0].look(target.view)
        after = shown[-1].look(target.view)[0] if len(shown) > 1 else None
        truth = load_image(target.frame) if target.has_truth else None
        panels.append(Panel(shift, before, after, truth, gain, f"t = {target.frame.time:.1f} s"))
        title = f"EIG of the first version, {shift_name(shift)}"
        save_png(folder / f"eig_{shift:+.2f}m.png", eig_figure(gain, render=before, title=title))
    save_png(folder / "panels.png", panel_sheet(panels, names))
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


def write_flight(path: Path, scene: Shown, views: list[View], fps: int) -> Path | None:
    """Render the flight to an MP4; without an ffmpeg program say so and leave it out."""

    def fly() -> Iterator[Float[np.ndarray, "H W 3"]]:
        for view in progress(views, "flight"):
            yield scene.look(view)[0]

    try:
        write_mp4(path, fly(), fps)
    except VideoError as error:
        logging.getLogger(__name__).warning("%s is left out: %s", path, error)
        return None
    return path
