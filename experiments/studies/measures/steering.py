"""What the fused scene gains with each signal as guidance, as blending mask and as loss weight.

One reconstruction up to the first fix event and one baseline serve all variants of a log; every variant then measures
(or trains) its fixer, fuses, and is scored at the true views of the log. Regions are those of exact EIG of the
baseline, the same for all variants.
"""

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import SceneData
from ff_jax.eig import Regions, split_regions
from ff_jax.eig.scene_posterior import fit_posterior
from ff_jax.evaluation.shifted_views import Target, score_masks, targets
from ff_jax.metrics.lpips import Lpips
from ff_jax.metrics.regions import score_region
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.fixers import check_fixers, fix_hook, fixers_for, report_skill
from ff_jax.pipeline.initialize import initialize, make_recording
from ff_jax.pipeline.phases import Phase, run_phase
from ff_jax.pipeline.references import render_clip
from ff_jax.pipeline.signals import EXACT, check_signals
from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.runtime.stop import StopRequest
from ff_jax.train.batches import TrainBatches
from ff_jax.train.loop import TrainPlan
from ff_jax.train.state import LoopState

USES = ("guidance", "blend", "weight", "all")
RECORDED = "recorded views only"
REGIONS = ("all", "ucr", "hpr")


class Variant(NamedTuple):
    """One signal in one use; the other uses have exact EIG."""

    use: str  # one of USES
    signal: str

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"{self.use}_{self.signal}"


def variants(signals: Sequence[str], uses: Sequence[str]) -> list[Variant]:
    """List the variants of a study; exact EIG is the same in all uses, and comes first."""
    return [Variant("all", EXACT), *(Variant(use, name) for use in uses for name in signals if name != EXACT)]


def with_signal(config: FuseConfig, variant: Variant) -> FuseConfig:
    """Return the settings of a variant."""
    field = "signal" if variant.use == "all" else f"{variant.use}_signal"
    return dataclasses.replace(config, eig=dataclasses.replace(config.eig, **{field: variant.signal}))


class SteeringStudy:
    """The variants of one log, and what they share."""

    def __init__(self, config: FuseConfig, log: SceneData, workdir: Path, lpips: Lpips | None):
        """Check the log.

        Args:
            config: the settings of all variants, with exact EIG.
            log: its driving log, with test frames.
            workdir: folder of the reconstruction, the baseline and the scores; what is there is used.
            lpips: None leaves this measure out.

        Raises:
            ValueError: the log has no test frame at a shift that is scored.
        """
        check_fixers(config)
        self.config, self.log, self.workdir, self.lpips = config, log, workdir, lpips
        self.batches = TrainBatches(make_recording(log, config))
        found = [view for view in targets(log, (), config.evaluate.frames) if view.has_truth and abs(view.shift) > 0.02]
        shifts = [shift for shift in config.evaluate.shifts if shift]
        scored = [view for view in found if any(abs(view.shift - shift) < 0.02 for shift in shifts)]
        self.targets = scored or found  # a real log has views at its own shifts only
        if not self.targets:
            raise ValueError(f"log {log.name!r} has no test frame beside the path: set data.test_cameras.")

    def run(self, chosen: Sequence[Variant]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Run the variants that are not finished; yield the name and the scores of each, the baseline's first."""
        for variant in chosen:
            names = with_signal(self.config, variant).eig.signals
            check_signals(names, self.batches.recording, self.config.schedule)
        base, plan = self._train("recon", self.config.schedule.start)
        copy = jax.jit(lambda state: jax.tree.map(jnp.copy, state))
        baseline, baseline_plan = self._train("baseline", self.config.steps, copy(base), plan)
        regions = self._regions(baseline, baseline_plan)
        yield RECORDED, self._stored("baseline", lambda: self._scores(baseline, baseline_plan, regions))
        for variant in chosen:
            yield (
                variant.name,
                self._stored(variant.name, lambda v=variant: self._variant(v, copy(base), plan, regions)),
            )

    def _variant(
        self, variant: Variant, state: LoopState, plan: TrainPlan, regions: Sequence[Regions]
    ) -> dict[str, Any]:
        """Fuse with the signal of a variant; its checkpoints are deleted once it is scored."""
        config, folder, started = with_signal(self.config, variant), self.workdir / variant.name, time.time()
        fixers = fixers_for(self.batches, config, folder, StopRequest(), self.workdir / "subsampled")
        plan = dataclasses.replace(plan, schedule=config.schedule, novel_probability=config.novel_probability)
        phase = Phase(folder / "fused", variant.name, config.steps, fix_hook(self.batches, fixers, config))
        state, plan = run_phase(phase, state, plan, self.batches, config)
        scores = self._scores(state, plan, regions)
        shutil.rmtree(folder)
        return scores | {"fixer_skill": report_skill(fixers), "seconds": round(time.time() - started, 1)}

    def _train(
        self, name: str, stop: int, state: LoopState | None = None, plan: TrainPlan | None = None
    ) -> tuple[LoopState, TrainPlan]:
        phase = Phase(self.workdir / name, name, stop)
        if state is None or plan is None:
            capacity, steps = self.config.pseudo_view_capacity, self.config.steps
            state, plan = initialize(self.batches.recording, self.config, pseudo_views=capacity, steps=steps)
        return run_phase(phase, state, plan, self.batches, self.config)

    def _stored(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Read the scores of a finished variant, or compute and store them."""
        path = self.workdir / f"{name}.json"
        if not path.is_file():
            scores = compute()
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(scores))
        return json.loads(path.read_text())

    def _regions(self, state: LoopState, plan: TrainPlan) -> list[Regions]:
        model = plan.model(state.train)
        posterior = fit_posterior(model, self.batches, self.config.eig.priors)
        clip = render_clip(model, posterior, [target.view for target in self.targets])
        return [split_regions(np.asarray(eig), self.config.eig.tau) for eig in clip.eig]

    def _scores(self, state: LoopState, plan: TrainPlan, regions: Sequence[Regions]) -> dict[str, Any]:
        """Score a scene: means by shift and region."""
        model = plan.model(state.train)
        posterior = fit_posterior(model, self.batches, self.config.eig.priors)
        clip = render_clip(model, posterior, [target.view for target in self.targets])
        rows: dict[str, dict[str, list[dict[str, float]]]] = {}
        for target, image, region in zip(self.targets, np.asarray(clip.rgb), regions, strict=True):
            for name, score in self._score_view(target, image, region).items():
                rows.setdefault(f"{target.shift:g}", {}).setdefault(name, []).append(score)
        return {"shifts": {shift: {name: _means(s) for name, s in by.items()} for shift, by in rows.items()}}

    def _score_view(self, target: Target, image: np.ndarray, regions: Regions) -> dict[str, dict[str, float]]:
        valid, _ = score_masks(target.frame, use_moving=bool(self.batches.recording.actors))
        truth = load_image(target.frame)
        distance = None if self.lpips is None else np.asarray(self.lpips.distance_map(image, truth))
        inside = dict(zip(REGIONS, (valid, valid & regions.ucr, valid & regions.hpr), strict=True))
        return {name: score_region(image, truth, mask, distance)._asdict() for name, mask in inside.items()}


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Average over views; None (of JSON) where no view has a value."""
    values = {name: [row[name] for row in rows if np.isfinite(row[name])] for name in rows[0]}
    return {name: float(np.mean(finite)) if finite else None for name, finite in values.items()}
