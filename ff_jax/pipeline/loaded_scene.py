"""A scene of Gaussians that a run starts from: load it into the world of a log, check that it fits."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ff_jax.data.points.visibility import project_points
from ff_jax.data.scene_data import Frame, SceneData
from ff_jax.export.formats.files import read_gaussians, read_gaussians_header
from ff_jax.export.formats.splats import SplatHeader, StoredSplats
from ff_jax.export.ply import into_slots
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.scene_file import SceneFile, parse_scene_file, world_from_scene
from ff_jax.render.gaussians import GaussianArrays
from ff_jax.render.similarity import moved
from ff_jax.scene import Scene, SceneModel, View, render_scene
from ff_jax.scene.appearance import appearance_file, with_appearance
from ff_jax.train.batches import TrainBatches

MAX_CHECKED = 20_000  # Gaussians that are projected to the cameras
MIN_VISIBLE = 1e-3  # share of the Gaussians that a camera must see
NUM_RENDERED = 5  # recorded images that are compared with their renders
MIN_CAMERAS, GOOD_CAMERAS = 0.5, 0.9  # shares of the cameras that see the scene: an error below, a warning below

Array = np.ndarray


class LoadedScene(NamedTuple):
    """A scene of Gaussians in the coordinates of its file."""

    file: SceneFile
    header: SplatHeader
    stored: StoredSplats
    matrix: Float[Array, "4 4"]  # from the coordinates of the file to the world

    @property
    def in_world(self) -> GaussianArrays:
        """Return the Gaussians in the world."""
        return moved(self.stored.gaussians, self.matrix)


def load_scene(config: FuseConfig, log: SceneData) -> LoadedScene:
    """Load the scene of `init.scene`.

    Raises:
        ValueError: the file is missing or damaged.
    """
    file = parse_scene_file(config.init.scene)
    header, stored = read_gaussians_header(file.path), read_gaussians(file.path)
    return LoadedScene(file, header, stored, world_from_scene(file, header, log, config.data.source))


def with_loaded(scene: Scene, loaded: LoadedScene, exposures: int) -> Scene:
    """Replace the Gaussians of a scene by loaded ones, its sky and its exposures by those of the file beside them.

    Args:
        scene: an untrained scene without actors; its sizes stay.
        loaded: the Gaussians, of at most its degree and number.
        exposures: number of exposures of the log.
    """
    capacity, coefficients, _ = scene.params.gaussians.sh.shape
    gaussians = loaded.in_world
    appearance = appearance_file(loaded.file.path)
    params = scene.params.replace(gaussians=into_slots(gaussians, capacity, coefficients))
    alive = jnp.arange(capacity) < gaussians.count
    return scene.replace(params=with_appearance(params, appearance, exposures), alive=alive)


def check_overlap(loaded: LoadedScene, frames: Sequence[Frame]) -> None:
    """Check that the cameras of the recorded frames see the scene.

    Raises:
        ValueError: fewer than half of them do.
    """
    means = loaded.in_world.means.astype(np.float64)
    xyz = means[:: -(-len(means) // MAX_CHECKED)]
    seen = [project_points(frame, xyz)[2].mean() >= MIN_VISIBLE for frame in frames]
    share, path = float(np.mean(seen)), loaded.file.path
    text = f"{path}: {sum(seen)} of {len(seen)} cameras see the scene"
    if share < MIN_CAMERAS:
        center = ", ".join(f"{value:.3g}" for value in np.median(xyz, axis=0))
        camera = ", ".join(f"{value:.3g}" for value in np.median([f.world_from_camera[:3, 3] for f in frames], axis=0))
        raise ValueError(
            f"{text} (its middle is at ({center}), that of the cameras at ({camera})): it is of another log, or in "
            "coordinates that its tool has moved; give them with ?transform=FILE (docs/how_to/own_log.md)."
        )
    if share < GOOD_CAMERAS:
        logging.getLogger(__name__).warning("%s.", text)


def warn_if_unlike(model: SceneModel, batches: TrainBatches, name: str) -> None:
    """Warn if a loaded scene renders the recorded images no better than images of one color.

    Args:
        model: the scene before training.
        batches: the recorded frames.
        name: of the file, for the message.
    """
    indices = sorted({round(i) for i in np.linspace(0, len(batches) - 1, NUM_RENDERED)})
    errors, plain = [], []
    for batch in map(batches.batch, indices):
        rgb = _render(model, batch.view)
        weight = batch.weight[..., None] / jnp.maximum(batch.weight.sum(), 1e-9)
        mean = (batch.image * weight).sum((0, 1))
        errors.append(float((jnp.square(jnp.clip(rgb, 0, 1) - batch.image) * weight).sum()))
        plain.append(float((jnp.square(mean - batch.image) * weight).sum()))
    better = np.mean(np.array(errors) < np.array(plain))
    if better < MIN_CAMERAS:
        logging.getLogger(__name__).warning(
            "%s renders %d of %d recorded images no better than an image of one color (root mean square error %.3f): "
            "it is of another log, or in coordinates that its tool has moved (?transform=FILE).",
            *(name, round((1 - better) * len(errors)), len(errors), np.sqrt(np.median(errors))),
        )


@jax.jit
def _render(model: SceneModel, view: View) -> Float[jax.Array, "H W 3"]:
    return render_scene(model, view).rgb
