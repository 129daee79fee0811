"""Read a run to look at it, finished or still training; nothing in its folder is ever written."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax

from ff_jax.data.scene_data import SceneData
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.fuse import recorded_feed
from ff_jax.pipeline.initialize import start_run
from ff_jax.render.renderer import RenderSettings
from ff_jax.runtime import checkpoint
from ff_jax.scene import Scene
from ff_jax.train.loop import Recipe

BEFORE, AFTER = "Reconstruction only", "Fused"
_PHASES = {BEFORE: ("baseline", "recon"), AFTER: ("fused",)}  # the furthest phase first


class Newest(NamedTuple):
    """The newest finished checkpoint of one version of the scene."""

    folder: Path  # of all checkpoints of its phase
    step: int


class Loaded(NamedTuple):
    """One version of the scene, as a checkpoint holds it."""

    scene: Scene
    settings: RenderSettings
    degree: int  # highest colour band that was active
    newest: Newest


class RunReader:
    """The scenes of one run, by name.

    Attributes:
        workdir: folder of the run.
        config: its settings.
        log: its driving log.
        feed: the recorded frames of the log.
    """

    def __init__(self, workdir: Path, config: FuseConfig, log: SceneData):
        """Read nothing yet; `config` and `log` are those of the run."""
        self.workdir, self.config, self.log = workdir, config, log
        self.feed = recorded_feed(config, log)
        self._blanks: dict[int, tuple[Any, Recipe]] = {}

    def newest(self) -> dict[str, Newest]:
        """Return the newest checkpoint of every version that has one; cheap enough to ask again and again."""
        found = {}
        for name, phases in _PHASES.items():
            for phase in phases:
                folder = self.workdir / phase / "checkpoints"
                if name not in found and (steps := finished_steps(folder)):
                    found[name] = Newest(folder, steps[-1])
        return found

    def training(self) -> bool:
        """Return whether the run has not written its results yet."""
        return not (self.workdir / "results" / "metrics.json").is_file()

    def load(self, newest: Newest) -> Loaded:
        """Return the scene of the newest whole checkpoint.

        Raises:
            ValueError: the checkpoint does not fit the run's settings.
            OSError: it cannot be read, or went away while it was read (training keeps the last ones only).
        """
        try:
            return self._load(newest, self.config.pool)
        except checkpoint.CheckpointError as error:
            try:
                return self._load(newest, 0)  # a run without fusing holds no pseudo-views
            except checkpoint.CheckpointError:
                raise error from None

    def _load(self, newest: Newest, pool: int) -> Loaded:
        like, recipe = self._blank(pool)
        with tempfile.TemporaryDirectory() as links:
            # Orbax clears away what looks unfinished beside a checkpoint: in a folder that is trained in, that is
            # the checkpoint being written. A folder of links keeps it away.
            for step in finished_steps(newest.folder):
                (Path(links) / str(step)).symlink_to((newest.folder / str(step)).resolve())
            run, meta, step = checkpoint.restore(links, like)
        settings = dataclasses.replace(recipe.settings, capacity=meta["capacity"])
        degree = min(step // recipe.recon.sh_every, recipe.recon.sh_degree)
        return Loaded(run.state.scene, settings, degree, newest._replace(step=step))

    def _blank(self, pool: int) -> tuple[Any, Recipe]:
        """Return the shapes of an untrained run, and its recipe."""
        if pool not in self._blanks:
            lengths = {"pool": pool, "steps": self.config.steps}
            run, recipe = start_run(self.log, self.feed, self.config, **lengths, shapes_only=True)
            self._blanks[pool] = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), run), recipe
        return self._blanks[pool]


def finished_steps(folder: Path) -> list[int]:
    """Return the steps, rising, whose checkpoints in `folder` have been written to the end."""
    entries = folder.iterdir() if folder.is_dir() else ()
    return sorted(int(e.name) for e in entries if e.name.isdecimal() and (e / checkpoint.MANIFEST).is_file())
