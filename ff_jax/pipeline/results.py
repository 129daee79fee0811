"""Write the results of a run: metrics.json, two pages, pictures, a fly-through with a lane change, a PLY file."""

import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import SceneData
from ff_jax.evaluation.error_maps import held_out_maps, map_sheet
from ff_jax.evaluation.renderers import EigRenderer, eig_renderer
from ff_jax.evaluation.shifted_views import FrameScore, ShiftScore, Target, by_shift, score, targets
from ff_jax.export.colormaps import eig_figure
from ff_jax.export.figures import panel_sheet
from ff_jax.export.html import write_page
from ff_jax.export.image_bytes import save_png
from ff_jax.export.records import MetricsRow, Panel, Report, metric_curves, shift_name
from ff_jax.export.video import VideoError, write_mp4
from ff_jax.pipeline.browser_scene import write_browser_scene
from ff_jax.pipeline.config import to_dict
from ff_jax.pipeline.run import Run
from ff_jax.pipeline.scene_export import write_scene
from ff_jax.render.camera import make_camera
from ff_jax.render.trajectories import interpolate_poses, lane_change, shift_laterally
from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.runtime.progress import progress
from ff_jax.runtime.run_log import read_metrics
from ff_jax.scene import View
from ff_jax.train.batches import view_of, view_offset


@dataclasses.dataclass(frozen=True)
class ScoredVersion:
    """One version of a scene with its scores.

    Attributes:
        scene: renders views with EIG.
        frames: scores of the targets.
        shifts: their means per shift.
    """

    scene: EigRenderer
    frames: list[FrameScore]
    shifts: list[ShiftScore]


def score_version(name: str, run: Run, chosen: Sequence[Target], views: Sequence[View]) -> ScoredVersion:
    """Score one version of a scene on the targets, with a progress bar.

    Args:
        name: of the version.
        run: the trained scene.
        chosen: the targets.
        views: all views that will be rendered, for the renderer's capacity.
    """
    scene = eig_renderer(run.scene, run.batches, run.config.eig.priors, views)
    bar = progress(chosen, f"scoring {name}")
    frames = [score(scene.render, target, run.log, use_moving=scene.models_actors) for target in bar]
    return ScoredVersion(scene, frames, by_shift(frames))


def write_results(
    folder: Path, runs: Mapping[str, Run], facts: Mapping[str, Any], logs: Sequence[Path] = ()
) -> dict[str, Any]:
    """Score every version of a scene and write all results into `folder`.

    Args:
        folder: of the results.
        runs: by name; the last one is shown in the fly-through and as PLY, the first is the comparison.
        facts: about the run.
        logs: metrics.jsonl files to draw as training curves.

    Returns:
        The content of metrics.json, the summary as text ("table") and the path of the page ("page").
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = next(iter(runs.values()))
    log, config = first.log, first.config
    chosen = targets(log, config.evaluate.shifts, config.evaluate.frames)
    flight = fly_through(first)
    views = [target.view for target in chosen] + flight[:: max(len(flight) // 8, 1)]
    versions = {name: score_version(name, run, chosen, views) for name, run in runs.items()}
    metrics = collect_metrics(log, versions, facts)
    with atomic_write(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(metrics, indent=2, default=str).replace("NaN", "null"))
    names = (next(iter(versions)), list(versions)[-1])[: len(versions)]
    scenes, tables = [v.scene for v in versions.values()], {name: v.shifts for name, v in versions.items()}
    write_error_maps(folder / "maps.png", scenes[-1], chosen, log.unit)
    panels = draw_panels(folder, scenes, chosen, names, log.unit)
    scene_page = write_browser_scene(folder / "scene.html", list(runs.items())[-1], scenes[-1], chosen)
    write_scene(folder / "scene.ply", scenes[-1].model, config, log)
    report = Report(
        title=f"FaithFusion: {log.name}",
        subtitle=_describe_log(first),
        facts={"run": dict(facts), "config": to_dict(config)},
        rows=_rows(list(tables.values()), log.unit),
        panels=panels,
        curves=_curves(logs),
        video=write_fly_through(folder / "flight.mp4", scenes[-1], flight, config.evaluate.fps),
        names=names,
        tau=config.eig.tau,
        unit=log.unit,
        scene_page=None if scene_page is None else scene_page.name,
    )
    write_page(folder / "index.html", report)
    return metrics | {"table": text_table(tables, log.unit), "page": str(folder / "index.html")}


def write_error_maps(path: Path, scene: EigRenderer, chosen: Sequence[Target], unit: str) -> None:
    """Write depth, error and EIG of the held-out views, if there are any."""
    maps = held_out_maps(scene.render, chosen, use_moving=scene.models_actors, unit=unit)
    if maps:
        save_png(path, map_sheet(maps))


def collect_metrics(log: SceneData, versions: Mapping[str, ScoredVersion], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Collect the content of metrics.json: units are meters, dB, nats; null where there is no true image."""
    return {
        "log": log.name,
        "shifts": {name: [row._asdict() for row in version.shifts] for name, version in versions.items()},
        "frames": {name: [row._asdict() for row in version.frames] for name, version in versions.items()},
        "gaussians": {name: int(version.scene.model.scene.alive.sum()) for name, version in versions.items()},
        "noise": {name: float(version.scene.posterior.noise) for name, version in versions.items()},
        "facts": dict(facts),
    }


def _describe_log(run: Run) -> str:
    """Describe the recorded log in one sentence."""
    frames, log = run.recording.frames, run.log
    cameras = list(dict.fromkeys(frame.camera for frame in frames))
    path = np.linalg.norm(np.diff(log.world_from_ego[:, :3, 3], axis=0), axis=-1).sum()
    count = f"{len(cameras)} cameras" if len(cameras) > 1 else f"camera {cameras[0]}"
    size = f"{frames[0].width}x{frames[0].height} pixels"
    return f"{log.source}: {len(frames)} training images of {count}, {size}, on a path of {path:.0f} {log.unit}."


def _rows(tables: list[list[ShiftScore]], unit: str) -> list[MetricsRow]:
    """Make the rows of the page: the first version beside the last, if there are two."""

    def named(row: ShiftScore) -> dict[str, float]:
        """Name the scores that were measured."""
        values = {"PSNR": row.psnr, "PSNR moving": row.psnr_dynamic, "SSIM": row.ssim, "EIG": row.eig}
        values |= {f"LiDAR median, {unit}": row.depth_median, f"LiDAR mean, {unit}": row.depth_mae}
        values |= {"LiDAR relative": row.depth_rel}
        return {name: value for name, value in values.items() if np.isfinite(value)}

    if len(tables) == 1:
        return [MetricsRow(row.shift, named(row), {}) for row in tables[0]]
    return [MetricsRow(a.shift, named(a), named(b)) for a, b in zip(tables[0], tables[-1], strict=True)]


def _curves(logs: Sequence[Path]) -> list:
    records = [record for path in logs for record in read_metrics(path)]
    return metric_curves(records, {"psnr": "training PSNR, dB", "loss": "training loss"})


def text_table(table: Mapping[str, list[ShiftScore]], unit: str = "m") -> str:
    """Format the summary for the terminal; with two versions also the improvement of the last over the first."""
    tables = list(table.values())
    has_two = len(tables) > 1
    header = [f"{'shift':>14} {'frames':>6}"] + [f"{name:>25}" for name in table]
    lines = [" | ".join(header + ["   gain"] * has_two)]
    lines.append(" | ".join([" " * 21] + [f"{'PSNR':>8} {'SSIM':>7} {'EIG':>8}"] * len(tables) + ["   PSNR"] * has_two))
    for rows in zip(*tables, strict=True):
        cells = [f"{shift_name(rows[0].shift, unit):>14} {rows[0].frames:>6}"]
        cells += [f"{row.psnr:>8.2f} {row.ssim:>7.3f} {row.eig:>8.3f}" for row in rows]
        lines.append(" | ".join(cells + [f"{rows[-1].psnr - rows[0].psnr:>+7.2f}"] * has_two))
    return "\n".join(lines).replace("+nan", "   -").replace("nan", "  -")


def draw_panels(
    folder: Path, scenes: Sequence[EigRenderer], chosen: Sequence[Target], names: tuple[str, ...], unit: str
) -> list[Panel]:
    """Draw the middle view of every shift before and after fusing, and write pictures and EIG maps."""
    panels = []
    for shift in sorted({target.shift for target in chosen}):
        group = [target for target in chosen if target.shift == shift]
        target = group[len(group) // 2]
        before, eig, _ = scenes[0].render(target.view)
        last = scenes[-1].render(target.view) if len(scenes) > 1 else None
        truth = load_image(target.frame) if target.has_truth else None
        after, eig_after = (last.rgb, last.eig) if last else (None, None)
        panels.append(Panel(shift, before, after, truth, eig, f"t = {target.frame.time:.1f} s", eig_after))
        title = f"EIG of the first version, {shift_name(shift, unit)}"
        save_png(folder / f"eig_{shift:+.2f}m.png", eig_figure(eig, render=before, title=title))
    save_png(folder / "panels.png", panel_sheet(panels, names, unit))
    return panels


def fly_through(run: Run) -> list[View]:
    """Make the views of a fly-through with a lane change along the path of the first recorded camera."""
    frames, log, settings = run.recording.frames, run.log, run.config.evaluate
    first = frames[0]
    path = [frame for frame in frames if frame.camera == first.camera]
    count = settings.video_frames
    poses = interpolate_poses(np.stack([frame.world_from_camera for frame in path]), count)
    egos = interpolate_poses(np.stack([log.world_from_ego[frame.time_index] for frame in path]), count)
    views = []
    for i, shift in enumerate(lane_change(count, settings.video_width)):
        near = path[round(i * (len(path) - 1) / max(count - 1, 1))]
        pose = shift_laterally(poses[i], egos[i], float(shift))
        camera = make_camera(first.K, pose, first.width, first.height)
        offset = view_offset(log, near.time_index, float(shift))
        views.append(view_of(near, near.exposure_id)._replace(camera=camera, offset=offset))
    return views


def write_fly_through(path: Path, scene: EigRenderer, views: list[View], fps: int) -> Path | None:
    """Render the fly-through to an MP4; without an ffmpeg program it is left out with a warning."""

    def render_all() -> Iterator[Float[np.ndarray, "H W 3"]]:
        for view in progress(views, "fly-through"):
            yield np.asarray(scene.render(view).rgb)

    try:
        write_mp4(path, render_all(), fps)
    except VideoError as error:
        logging.getLogger(__name__).warning("%s is left out: %s", path, error)
        return None
    return path
