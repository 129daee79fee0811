"""Measure renders, repairs and references at every fix event of a run, with and without fusing."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import SceneData
from ff_jax.eig import split_regions
from ff_jax.eig.scene_posterior import EigRender, ScenePosterior, fit_posterior
from ff_jax.evaluation.shifted_views import Target, score_masks, targets
from ff_jax.fixers import reprojection
from ff_jax.fixers.fixer import fix
from ff_jax.metrics.lpips import Lpips
from ff_jax.metrics.regions import score_region
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.fixers import check_fixers, fix_hook, fixers_for, report_skill
from ff_jax.pipeline.held_out_views import nearest_index
from ff_jax.pipeline.initialize import initialize, make_recording
from ff_jax.pipeline.phases import Phase, run_phase
from ff_jax.pipeline.references import references_for, render_clip
from ff_jax.runtime.stop import StopRequest
from ff_jax.scene import SceneModel
from ff_jax.train.batch import as_float
from ff_jax.train.batches import TrainBatches
from ff_jax.train.loop import TrainPlan
from ff_jax.train.shift_schedule import is_event, is_expanding
from ff_jax.train.state import LoopState

REGIONS = ("all", "ucr", "hpr")
BLOCK = 7  # pixels, side of a block of the oracle
_FACTORS = tuple(np.exp(np.linspace(-np.log(1.3), np.log(1.3), 13)))  # of the rendered depth

Row = dict[str, Any]


class EventStudy:
    """The two branches of a run, scored at every event and at the end."""

    def __init__(self, config: FuseConfig, log: SceneData, workdir: Path, lpips: Lpips | None):
        """Prepare a run in `workdir`; a run that is there is continued.

        Args:
            config: the settings of the run.
            log: its driving log, with test frames.
            workdir: folder of checkpoints.
            lpips: None leaves this measure out.

        Raises:
            ValueError: the log has no test frame.
        """
        check_fixers(config)
        self.config, self.log, self.workdir, self.lpips = config, log, workdir, lpips
        self.batches = TrainBatches(make_recording(log, config))
        self.targets = [view for view in targets(log, (), config.evaluate.frames) if view.has_truth]
        if not self.targets:
            raise ValueError(f"log {log.name!r} has no test frame: set data.hold_out or data.test_cameras.")
        self.fixers = fixers_for(self.batches, config, workdir, StopRequest())
        self.skill = report_skill(self.fixers)

    def run(self, *, use_oracle: bool = False) -> Iterator[list[Row]]:
        """Train both branches from event to event; yield the scores of each stop."""
        config = self.config
        state, plan = initialize(
            self.batches.recording, config, pseudo_views=config.pseudo_view_capacity, steps=config.steps
        )
        state, plan = self._advance("recon", config.schedule.start, state, plan)
        yield self.score("recorded", config.schedule.start, state, plan)
        copy = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))
        branches = {"recorded": (copy(state), plan), "fused": (state, self._fused_plan(plan))}
        for stop in self._stops():
            for name in branches:
                branches[name] = self._advance(name, stop, *branches[name])
                yield self.score(name, stop, *branches[name])
        if use_oracle:
            yield self.oracle(*branches["recorded"])

    def _stops(self) -> list[int]:
        steps = range(self.config.schedule.start + 1, self.config.steps)
        return [step for step in steps if is_event(step, self.config.schedule)] + [self.config.steps]

    def _fused_plan(self, plan: TrainPlan) -> TrainPlan:
        config = self.config
        return dataclasses.replace(plan, schedule=config.schedule, novel_probability=config.novel_probability)

    def _advance(self, name: str, stop: int, state: LoopState, plan: TrainPlan) -> tuple[LoopState, TrainPlan]:
        hook = fix_hook(self.batches, self.fixers, self.config)
        phase = Phase(self.workdir / name, f"{name} to {stop}", stop, hook)
        return run_phase(phase, state, plan, self.batches, self.config)

    def score(self, name: str, step: int, state: LoopState, plan: TrainPlan) -> list[Row]:
        """Score renders, repairs and references of all true views at one step, as means by shift and region."""
        model = plan.model(state.train, step)
        posterior = fit_posterior(model, self.batches, self.config.eig.priors)
        facts: Row = {"step": step, "scene": name, "pseudo_views": int(state.pseudo_views.filled)}
        if facts["pseudo_views"]:
            facts["age"] = step - max(other for other in range(step) if is_event(other, self.config.schedule))
        rows = []
        for shift in dict.fromkeys(target.shift for target in self.targets):
            group = [target for target in self.targets if target.shift == shift]
            rows += [facts | row for row in self._score_views(group, step, model, posterior)]
        return rows

    def _score_views(
        self, group: Sequence[Target], step: int, model: SceneModel, posterior: ScenePosterior
    ) -> list[Row]:
        fixer = self.fixers[not is_expanding(step, self.config.schedule)].fixer
        views = [target.view for target in group]
        frames = self.batches.recording.frames
        nearest = [nearest_index(target.frame, frames) for target in group]
        clip = render_clip(model, posterior, views)
        references = references_for(fixer, clip, views, nearest, posterior, self.batches)
        fixed = fix(fixer, jax.random.key(step), clip.rgb, clip.eig, references)
        images = {"render": clip.rgb, "fixed": fixed} | ({"reference": references} if references.ndim == 4 else {})
        scores: dict[str, list[dict[str, float]]] = {region: [] for region in REGIONS}
        for number, target in enumerate(group):
            for region, row in self._score_view(number, target, images, clip).items():
                scores[region].append(row)
        return [{"shift": group[0].shift, "region": region} | _means(rows) for region, rows in scores.items()]

    def _score_view(
        self, number: int, target: Target, images: Mapping[str, Float[Array, "T H W 3"]], clip: EigRender
    ) -> dict[str, dict[str, float]]:
        valid, _ = score_masks(target.frame, use_moving=bool(self.batches.recording.actors))
        truth, regions = load_image(target.frame), split_regions(np.asarray(clip.eig[number]), self.config.eig.tau)
        inside = {"all": valid, "ucr": valid & regions.ucr, "hpr": valid & regions.hpr}
        rows: dict[str, dict[str, float]] = {name: {"share": float(mask.mean())} for name, mask in inside.items()}
        for kind, clip_images in images.items():
            image = np.asarray(clip_images[number])
            distance = None if self.lpips is None else np.asarray(self.lpips.distance_map(image, truth))
            for name, mask in inside.items():
                score = score_region(image, truth, mask, distance)
                rows[name] |= {f"psnr_{kind}": score.psnr, f"ssim_{kind}": score.ssim, f"lpips_{kind}": score.lpips}
        return rows

    def oracle(self, state: LoopState, plan: TrainPlan) -> list[Row]:
        """Score the best re-projection of the recorded images, which is selected by means of the truth."""
        model = plan.model(state.train, self.config.steps)
        posterior = fit_posterior(model, self.batches, self.config.eig.priors)
        rows: dict[float, list[dict[str, float]]] = {}
        for target in self.targets:
            clip = render_clip(model, posterior, [target.view])
            best = best_reprojection(clip, target, posterior, self.batches)
            truth = load_image(target.frame)
            distance = None if self.lpips is None else np.asarray(self.lpips.distance_map(best, truth))
            score = score_region(best, truth, np.ones(best.shape[:2], bool), distance)
            rows.setdefault(target.shift, []).append({"psnr_oracle": score.psnr, "lpips_oracle": score.lpips})
        facts = {"step": self.config.steps, "scene": "oracle", "region": "all"}
        return [facts | {"shift": shift} | _means(group) for shift, group in rows.items()]


def best_reprojection(
    clip: EigRender, target: Target, posterior: ScenePosterior, batches: TrainBatches
) -> Float[np.ndarray, "H W 3"]:
    """Select by the truth, for every block, the best of the render and of 9 recorded images at 13 depths each."""
    frames = batches.recording.frames
    times = np.array([frame.time for frame in frames], np.float32)
    (near,) = reprojection.nearest_sources(np.array([float(target.view.time)]), times, 9)
    camera, truth = target.view.camera, jnp.asarray(load_image(target.frame))
    view = reprojection.Views(clip.rgb[0], clip.depth[0], camera.K, camera.camera_from_world)
    best, least = clip.rgb[0], _block_error(clip.rgb[0], truth)
    for index in near:
        batch = batches.batch(int(index))
        source = reprojection.Views(
            as_float(batch.image), posterior.depths[index], batch.view.camera.K, batch.view.camera.camera_from_world
        )
        for factor in _FACTORS:
            best, least = _better(best, least, view, source, jnp.float32(factor), truth)
    return np.asarray(best)


@jax.jit
def _better(
    best: Float[Array, "H W 3"],
    least: Float[Array, "h w"],
    view: reprojection.Views,
    source: reprojection.Views,
    factor: Float[Array, ""],
    truth: Float[Array, "H W 3"],
) -> tuple[Float[Array, "H W 3"], Float[Array, "h w"]]:
    """Replace the blocks of `best` in which the image of `source` at another depth has a smaller error."""
    moved = dataclasses.replace(view, depth=factor * view.depth)
    colors, _ = reprojection.warp(moved, source, reprojection.AlignConfig())
    error = _block_error(colors, truth)
    is_better = functools.reduce(lambda x, axis: jnp.repeat(x, BLOCK, axis), (0, 1), error < least)
    height, width = truth.shape[:2]
    return jnp.where(is_better[:height, :width, None], colors, best), jnp.minimum(error, least)


def _block_error(image: Float[Array, "H W 3"], truth: Float[Array, "H W 3"]) -> Float[Array, "h w"]:
    error = jnp.square(image - truth).mean(-1)
    padding = [(0, -size % BLOCK) for size in error.shape]
    error = jnp.pad(error, padding)
    return error.reshape(error.shape[0] // BLOCK, BLOCK, error.shape[1] // BLOCK, BLOCK).mean((1, 3))


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    known = {name: [row[name] for row in rows if not np.isnan(row[name])] for name in rows[0]}
    return {name: float(np.mean(values)) if values else np.nan for name, values in known.items()}


def markdown(rows: Sequence[Row], unit: str = "m") -> str:
    """Format the rows as a Markdown table; `unit` is that of shifts."""
    kinds = ("render", "fixed", "reference", "oracle")
    header = ["step", f"shift, {unit}", "scene", "region", "share", "pseudo-views", "age"]
    header += [f"{name} {kind}" for kind in kinds for name in ("PSNR", "LPIPS")]
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]

    def cell(row: Row, name: str, digits: int) -> str:
        value = row.get(name, np.nan)
        return f"{value:.{digits}f}" if np.isfinite(value) else "-"

    for row in sorted(rows, key=lambda row: (row["shift"], REGIONS.index(row["region"]), row["step"])):
        cells = [str(row["step"]), f"{row['shift']:+.2f}", row["scene"], row["region"], cell(row, "share", 2)]
        cells += [cell(row, "pseudo_views", 0), cell(row, "age", 0)]
        cells += [cell(row, f"{name}_{kind}", digits) for kind in kinds for name, digits in (("psnr", 2), ("lpips", 3))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
