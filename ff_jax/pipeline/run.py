"""A run for readers of its results: the scene with everything to render views of it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ff_jax.data.padding import padded
from ff_jax.data.recording import Recording
from ff_jax.data.scene_data import Frame, SceneData
from ff_jax.eig.scene_posterior import EigRender, ScenePosterior, fit_posterior, render_with_eig
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.references import aligned_references
from ff_jax.scene import SceneModel, View
from ff_jax.train.batches import TrainBatches, shifted_view
from ff_jax.train.capacity import count_intersections, resize_capacity
from ff_jax.train.loop import TrainPlan
from ff_jax.train.state import LoopState


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained scene with its settings and recorded frames.

    Attributes:
        config: the settings.
        batches: the recorded frames.
        plan: the static side of the training.
        state: the training state and the pseudo-views.
        metrics: content of metrics.json of the run that made it; empty for a scene that was not evaluated.
        workdir: folder of the run; None if it has none.
    """

    config: FuseConfig
    batches: TrainBatches
    plan: TrainPlan
    state: LoopState
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    workdir: Path | None = None

    @property
    def scene(self) -> SceneModel:
        """Return the scene, ready for `render_scene`."""
        return self.plan.model(self.state.train)

    @property
    def recording(self) -> Recording:
        """Return the recorded frames without their images on the device."""
        return self.batches.recording

    @property
    def log(self) -> SceneData:
        """Return the driving log."""
        return self.recording.log

    @property
    def models_actors(self) -> bool:
        """Return whether the scene has actors."""
        return self.state.train.scene.tracks is not None

    def view(self, frame: Frame, shift: float = 0.0) -> View:
        """Make the view of a recorded camera moved `shift` meters to the left, padded to the size of all images."""
        return shifted_view(padded(frame, self.recording.image_size), self.log, shift)

    def posterior(self) -> ScenePosterior:
        """Compute the posterior of the scene given the recorded views (one pass over all of them)."""
        return fit_posterior(self.scene, self.batches, self.config.eig.priors)

    def references(self, view: View, posterior: ScenePosterior | None = None) -> Float[Array, "1 H W 3"]:
        """Re-project the recorded images to the pixels of a view, for a fixer."""
        posterior = self.posterior() if posterior is None else posterior
        render = render_with_eig(self.scene, posterior, view)
        clip = EigRender(*(jnp.asarray(part)[None] for part in render))
        return aligned_references(clip, [view], posterior, self.batches)

    def reserve(self, views: Sequence[View]) -> "Run":
        """Return the run with a renderer capacity that is sufficient for `views`."""
        settings = self.plan.settings
        count = count_intersections(self.state.train.scene, views, settings)
        return dataclasses.replace(self, plan=dataclasses.replace(self.plan, settings=resize_capacity(settings, count)))
