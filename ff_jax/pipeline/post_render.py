"""The fixer of a finished run as a last step after rendering (DIFIX3D+), or as a generator without a scene (FreeVS)."""

import dataclasses
from pathlib import Path

import jax
import numpy as np

from ff_jax.eig.signals import RecordedScene
from ff_jax.evaluation.renderers import RenderedTarget, Renderer
from ff_jax.evaluation.shifted_views import SKY, Target
from ff_jax.fixers.fixer import Fixer, fix
from ff_jax.pipeline.fixer_inputs import NovelClip, fixer_inputs
from ff_jax.pipeline.fixers import fixers_for
from ff_jax.pipeline.held_out_views import nearest_index
from ff_jax.pipeline.references import render_clip
from ff_jax.pipeline.run import Run
from ff_jax.pipeline.signals import prepare_signals
from ff_jax.runtime.stop import StopRequest


def fixer_of(run: Run) -> Fixer:
    """Load the fixer that a finished run ended with.

    Raises:
        ValueError: the run has no folder.
    """
    if run.workdir is None:
        raise ValueError("the run has no folder that its fixer could be loaded from: load it with `load_run`.")
    return fixers_for(run.batches, run.config, Path(run.workdir), StopRequest())[1].fixer


def repairing_renderer(run: Run, fixer: Fixer) -> Renderer:
    """Make a renderer that repairs every view of a run by itself, as a fix event does; its depth is that of the scene.

    Args:
        run: the finished run.
        fixer: of the run, see `fixer_of`.
    """
    posterior, recorded = run.posterior(), run.recording.frames
    scene = RecordedScene(run.scene, run.batches, run.config.eig.priors, posterior)
    signals = prepare_signals(run.config.eig.signals, scene)

    def render(target: Target) -> RenderedTarget:
        frame = dataclasses.replace(target.frame, world_from_camera=target.pose, readout=None)
        clip = render_clip(run.scene, posterior, [target.view])
        nearest = [nearest_index(frame, recorded)]
        made = fixer_inputs(fixer, clip, NovelClip([target.view], [frame], nearest), scene, signals)
        key, inputs = jax.random.key(run.config.seed), (made.frames, made.guidance, made.references)
        fixed = np.asarray(fix(fixer, key, *inputs, made.conditions, made.blend)[0])
        depth = np.asarray(clip.depth[0])
        return RenderedTarget(fixed, np.where(depth < SKY, depth, np.nan))

    return render
