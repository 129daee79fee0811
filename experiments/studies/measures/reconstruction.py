"""Reconstruct a log for a study, and render its frames."""

from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float

from ff_jax.data.scene_data import Frame, SceneData
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.initialize import initialize, make_recording
from ff_jax.pipeline.phases import Phase, run_phase
from ff_jax.pipeline.run import Run
from ff_jax.scene import Scene, render_scene
from ff_jax.scene.exposure import ExposureBlend
from ff_jax.train.batches import TrainBatches, view_of
from ff_jax.train.capacity import count_intersections, resize_capacity

_render = jax.jit(render_scene)


def reconstruct_log(
    log: SceneData, config: FuseConfig, folder: Path, frames: tuple[Frame, ...] | None = None, description: str = ""
) -> Run:
    """Reconstruct a log for `config.steps` steps, or load a finished reconstruction from `folder`.

    Args:
        log: the driving log.
        config: the settings.
        folder: of the checkpoints.
        frames: recorded frames; None takes those of split "train".
        description: text of the progress bar; "" takes the name of the folder.
    """
    batches = TrainBatches(make_recording(log, config, frames))
    phase = Phase(folder, description or folder.name.replace("_", " "), config.steps)
    state, plan = initialize(batches.recording, config, pseudo_views=0, steps=config.steps, shapes_only=phase.is_begun)
    state, plan = run_phase(phase, state, plan, batches, config)
    return Run(config, batches, plan, state, workdir=folder)


def render_frame(
    run: Run, frame: Frame, scene: Scene | None = None, *, exposure: int | ExposureBlend = 0
) -> Float[np.ndarray, "H W 3"]:
    """Render the view of a frame; colors in [0, 1].

    Args:
        run: the reconstruction.
        frame: gives camera and time.
        scene: rendered in place of the scene of the run.
        exposure: id of the exposure, or two ids to interpolate between.
    """
    view = view_of(frame, exposure)
    model = run.scene if scene is None else run.scene.replace(scene=scene)
    settings = resize_capacity(model.settings, count_intersections(model.scene, [view], model.settings))
    return np.clip(np.asarray(_render(model.replace(settings=settings), view).rgb), 0, 1)
