"""The scenes of one run on the device, and their images."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, UInt8

from ff_jax.eig.scene_posterior import ScenePosterior, fit_posterior, render_with_eig
from ff_jax.pipeline.any_view import render_any
from ff_jax.pipeline.fuse import FUSED, RECONSTRUCTION
from ff_jax.pipeline.run_reader import RunReader, SceneVersion
from ff_jax.render.renderer import RenderSettings
from ff_jax.scene import RenderedScene, Scene, View, edit
from ff_jax.viewer.layers import EIG_LAYERS, RGB, Scales, colorize, scale_of


@dataclasses.dataclass(frozen=True)
class ActorEdits:
    """Changes of the actors, by index.

    Attributes:
        hidden: actors that are not rendered.
        moves: (actor, meters forward, left, up in its own frame, degrees to the left).
    """

    hidden: tuple[int, ...] = ()
    moves: tuple[tuple[int, float, float, float, float], ...] = ()


@dataclasses.dataclass(frozen=True)
class ViewerState:
    """What to render of a view.

    Attributes:
        layer: one of `layers.LAYERS`.
        version: RECONSTRUCTION or FUSED.
        split: share of the width, from the left, that shows RECONSTRUCTION beside FUSED; None shows `version` alone.
        scales: of the colors of the layers.
        edits: of the actors.
    """

    layer: str = RGB
    version: str = FUSED
    split: float | None = None
    scales: Scales = Scales()
    edits: ActorEdits = ActorEdits()

    @property
    def versions(self) -> tuple[str, ...]:
        """Return the versions to render, from left to right."""
        return (self.version,) if self.split is None else (RECONSTRUCTION, FUSED)


class Session:
    """The scenes of one run on the device, with their posteriors.

    Attributes:
        reader: reads the run.
        versions: the newest scene of every version that has a checkpoint.
    """

    def __init__(self, reader: RunReader):
        """Load the newest checkpoints of the run."""
        self.reader = reader
        self.versions: dict[str, SceneVersion] = {}
        self._posteriors: dict[str, ScenePosterior] = {}
        self._settings: dict[tuple[int, int], RenderSettings] = {}
        self._edited: dict[str, tuple[ActorEdits, Scene]] = {}
        self.refresh()

    def refresh(self) -> tuple[str, ...]:
        """Load versions with a newer checkpoint and return their names.

        Raises:
            ValueError, OSError: a checkpoint cannot be read now; the scenes loaded before stay.
        """
        loaded = {name: version.checkpoint for name, version in self.versions.items()}
        newer = {name: ref for name, ref in self.reader.newest_checkpoints().items() if ref != loaded.get(name)}
        for name, ref in newer.items():
            self.versions[name] = self.reader.load(ref)
            self._posteriors.pop(name, None)
            self._edited.pop(name, None)
        return tuple(newer)

    def is_ready(self, state: ViewerState) -> bool:
        """Return whether `render` needs no posterior that has to be computed first."""
        return state.layer not in EIG_LAYERS or all(name in self._posteriors for name in state.versions)

    def posterior(self, name: str) -> ScenePosterior:
        """Compute the posterior of a version from the recorded views (cached; checkpoints do not store it).

        Raises:
            ValueError, OSError: the recorded images cannot be read.
        """
        if name not in self._posteriors:
            model, reader = self.versions[name].model, self.reader
            self._posteriors[name] = fit_posterior(model, reader.batches, reader.config.eig.priors)
        return self._posteriors[name]

    def render(self, state: ViewerState, view: View) -> UInt8[np.ndarray, "H W 3"]:
        """Render the image of a view.

        Raises:
            ValueError: the run has no checkpoint of a version yet.
        """
        images = [self._render_layer(name, state, view) for name in state.versions]
        return images[0] if state.split is None else side_by_side(images[0], images[1], state.split)

    def eig_map(self, state: ViewerState, view: View) -> Float[np.ndarray, "H W"]:
        """Compute the EIG map of a view, nats."""
        return np.asarray(self._render_version(state.version, state, view, with_eig=True)[1])

    def _render_layer(self, name: str, state: ViewerState, view: View) -> UInt8[np.ndarray, "H W 3"]:
        rendered, eig = self._render_version(name, state, view, with_eig=state.layer in EIG_LAYERS)
        return np.asarray(colorize(state.layer, rendered, eig, jnp.float32(scale_of(state.layer, state.scales))))

    def _render_version(
        self, name: str, state: ViewerState, view: View, *, with_eig: bool
    ) -> tuple[RenderedScene, Float[Array, "H W"] | None]:
        """Render a view, and its EIG map if required, with a sufficient capacity."""
        if name not in self.versions:
            raise ValueError(f"the run has no version {name!r} yet; it has {', '.join(self.versions) or 'none'}.")
        model = self.versions[name].model.replace(scene=self._edited_scene(name, state.edits))
        model, rendered = render_any(model, view, self._settings)
        return rendered, render_with_eig(model, self.posterior(name), view).eig if with_eig else None

    def _edited_scene(self, name: str, edits: ActorEdits) -> Scene:
        """Apply edits to a version (cached)."""
        if name not in self._edited or self._edited[name][0] != edits:
            self._edited[name] = edits, apply_edits(self.versions[name].model.scene, edits)
        return self._edited[name][1]


def apply_edits(scene: Scene, edits: ActorEdits) -> Scene:
    """Move and hide actors of a scene.

    Raises:
        ValueError: an actor does not exist.
    """
    for actor, *by, degrees in edits.moves:
        scene = edit.move(scene, actor, np.array(by, np.float64), float(np.deg2rad(degrees)))
    for actor in edits.hidden:
        scene = edit.remove(scene, actor)
    return scene


def side_by_side(
    left: UInt8[np.ndarray, "H W 3"], right: UInt8[np.ndarray, "H W 3"], share: float | int
) -> UInt8[np.ndarray, "H W 3"]:
    """Join two images: `left` up to `share` of the width, `right` from there, separated by a white line."""
    column = round(float(np.clip(share, 0, 1)) * left.shape[1])
    joined = np.where(np.arange(left.shape[1])[:, None] < column, left, right)
    if 0 < column < left.shape[1]:
        joined[:, column - 1 : column + 1] = 255
    return joined
