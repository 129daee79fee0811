"""Read the scenes of a run, finished or still training, without writing to its folder."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import jax

from ff_jax.data.recording import Recording
from ff_jax.data.scene_data import SceneData
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.fuse import FUSED, RECONSTRUCTION
from ff_jax.pipeline.initialize import initialize, make_recording
from ff_jax.runtime import checkpoint
from ff_jax.scene import SceneModel
from ff_jax.train.batches import TrainBatches
from ff_jax.train.loop import TrainPlan
from ff_jax.train.state import LoopState

_PHASES = {RECONSTRUCTION: ("baseline", "recon"), FUSED: ("fused",)}  # the last phase first


class CheckpointRef(NamedTuple):
    """A checkpoint of one version of the scene."""

    folder: Path  # of all checkpoints of its phase
    step: int


class SceneVersion(NamedTuple):
    """One version of the scene, as stored in a checkpoint."""

    model: SceneModel
    checkpoint: CheckpointRef


class RunReader:
    """The scenes of one run, by name of the version.

    Attributes:
        workdir: folder of the run.
        config: its settings.
        batches: the recorded frames of its log.
    """

    def __init__(self, workdir: Path, config: FuseConfig, log: SceneData):
        """Prepare to read a run with its settings and its log; nothing is read yet."""
        self.workdir, self.config = workdir, config
        self.batches = TrainBatches(make_recording(log, config))
        self._templates: dict[int, tuple[LoopState, TrainPlan]] = {}

    @property
    def recording(self) -> Recording:
        """Return the recorded frames."""
        return self.batches.recording

    def newest_checkpoints(self) -> dict[str, CheckpointRef]:
        """Find the newest checkpoint of every version that has one; fast enough to poll."""
        newest = {}
        for name, phases in _PHASES.items():
            for phase in phases:
                folder = self.workdir / phase / "checkpoints"
                if name not in newest and (steps := complete_steps(folder)):
                    newest[name] = CheckpointRef(folder, steps[-1])
        return newest

    def is_training(self) -> bool:
        """Return whether the run has not written its results yet."""
        return not (self.workdir / "results" / "metrics.json").is_file()

    def load(self, newest: CheckpointRef) -> SceneVersion:
        """Load the scene of the newest valid checkpoint in the folder of `newest`.

        Raises:
            ValueError: the checkpoint does not fit the run's settings.
            OSError: it cannot be read, or training deleted it during the read (only the last ones are kept).
        """
        try:
            return self._load(newest, self.config.pseudo_view_capacity)
        except checkpoint.CheckpointError as error:
            try:
                return self._load(newest, 0)  # a run without fusing has no pseudo-views
            except checkpoint.CheckpointError:
                raise error from None

    def _load(self, newest: CheckpointRef, pseudo_views: int) -> SceneVersion:
        shapes, plan = self._template(pseudo_views)
        with tempfile.TemporaryDirectory() as links:
            # Orbax deletes incomplete checkpoints beside the one it reads: in the folder of a running training, that
            # is the one being written. It reads from a folder of links instead.
            for step in complete_steps(newest.folder):
                (Path(links) / str(step)).symlink_to((newest.folder / str(step)).resolve())
            state, meta, step = checkpoint.restore(links, shapes)
        model = plan.with_capacity(meta["capacity"]).model(state.train, step)
        return SceneVersion(model, newest._replace(step=step))

    def _template(self, pseudo_views: int) -> tuple[LoopState, TrainPlan]:
        """Return the shapes of an untrained run (cached), and its plan."""
        if pseudo_views not in self._templates:
            state, plan = initialize(
                self.recording, self.config, pseudo_views=pseudo_views, steps=self.config.steps, shapes_only=True
            )
            self._templates[pseudo_views] = jax.eval_shape(lambda: state), plan
        return self._templates[pseudo_views]


def complete_steps(folder: Path) -> list[int]:
    """List the steps, increasing, with a complete checkpoint in `folder`."""
    entries = folder.iterdir() if folder.is_dir() else ()
    return sorted(int(e.name) for e in entries if e.name.isdecimal() and (e / checkpoint.MANIFEST).is_file())
