"""One run being looked at: what is shown, and the picture of it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, UInt8

from ff_jax.eig.scene_posterior import Knowledge, learn
from ff_jax.eig.scene_posterior import look as look_at
from ff_jax.render.renderer import RenderSettings
from ff_jax.scene import Scene, edit, render_scene
from ff_jax.scene.scene import SceneView, View
from ff_jax.train.loop import fitted
from ff_jax.viewer.layers import NEED_EIG, RGB, Scales, paint, scale_of
from ff_jax.viewer.run_reader import AFTER, BEFORE, Loaded, RunReader


@dataclasses.dataclass(frozen=True)
class Edits:
    """What is changed about the actors, by number.

    Attributes:
        hidden: actors that are not shown.
        moved: (actor, metres forward, left, up in its own frame, degrees to the left).
    """

    hidden: tuple[int, ...] = ()
    moved: tuple[tuple[int, float, float, float, float], ...] = ()


@dataclasses.dataclass(frozen=True)
class Look:
    """What is shown of a view.

    Attributes:
        layer: one of `layers.LAYERS`.
        version: BEFORE or AFTER.
        split: share of the width, from the left, that shows BEFORE beside AFTER; None shows `version` alone.
        scales: of the layers' colours.
        edits: of the actors.
    """

    layer: str = RGB
    version: str = AFTER
    split: float | None = None
    scales: Scales = Scales()
    edits: Edits = Edits()


class Session:
    """The scenes of one run on the device, and what their recorded views leave unknown."""

    def __init__(self, reader: RunReader):
        """Load what the run has written so far."""
        self.reader = reader
        self.versions: dict[str, Loaded] = {}
        self._known: dict[str, Knowledge] = {}
        self._settings: dict[tuple[int, int], RenderSettings] = {}
        self._edited: dict[str, tuple[Edits, Scene]] = {}
        self.refresh()

    def refresh(self) -> tuple[str, ...]:
        """Load versions with a newer checkpoint and return their names.

        Raises:
            ValueError, OSError: a checkpoint cannot be read now; what was loaded before stays.
        """
        stale = [
            (name, newest)
            for name, newest in self.reader.newest().items()
            if name not in self.versions or newest != self.versions[name].newest
        ]
        for name, newest in stale:
            self.versions[name] = self.reader.load(newest)
            self._known.pop(name, None)
            self._edited.pop(name, None)
        return tuple(name for name, _ in stale)

    def knows(self, look: Look) -> bool:
        """Return whether the picture can be drawn without learning from the recorded views first."""
        return look.layer not in NEED_EIG or all(name in self._known for name in shown_versions(look))

    def knowledge(self, name: str) -> Knowledge:
        """Return what the recorded views leave unknown about a version; learnt once, as no checkpoint holds it.

        Raises:
            ValueError, OSError: the recorded images cannot be read.
        """
        if name not in self._known:
            loaded, config = self.versions[name], self.reader.config
            self._known[name] = learn(loaded.scene, self.reader.feed, loaded.settings, loaded.degree, config.eig.priors)
        return self._known[name]

    def picture(self, look: Look, view: View) -> UInt8[np.ndarray, "H W 3"]:
        """Return the picture of a view.

        Raises:
            ValueError: a version is asked for that the run has not written yet.
        """
        parts = [self._layer(name, look, view) for name in shown_versions(look)]
        return parts[0] if look.split is None else side_by_side(*parts, look.split)

    def gain(self, look: Look, view: View) -> Float[np.ndarray, "H W"]:
        """Return the EIG map of a view, nats."""
        return np.asarray(self._seen(look.version, look, view, True)[1])

    def _layer(self, name: str, look: Look, view: View) -> UInt8[np.ndarray, "H W 3"]:
        seen, gain = self._seen(name, look, view, look.layer in NEED_EIG)
        return np.asarray(paint(look.layer, seen, gain, jnp.float32(scale_of(look.layer, look.scales))))

    def _seen(self, name: str, look: Look, view: View, wanted: bool) -> tuple[SceneView, Float[Array, "H W"] | None]:
        """Render a view, and its EIG map if that is `wanted`, with as much capacity as they need."""
        if name not in self.versions:
            raise ValueError(f"the run has no version {name!r} yet; it has {', '.join(self.versions) or 'none'}.")
        loaded, size = self.versions[name], (view.camera.width, view.camera.height)
        scene, degree = self._scene(name, look.edits), jnp.int32(loaded.degree)
        known = self.knowledge(name) if wanted else None
        settings = self._settings.setdefault(size, loaded.settings)
        seen = _render(scene, view, settings, degree)
        if int(seen.needed) > settings.capacity:
            settings = self._settings[size] = fitted(settings, int(seen.needed))
            seen = _render(scene, view, settings, degree)
        return seen, look_at(scene, known, view, settings, degree).eig if wanted else None

    def _scene(self, name: str, edits: Edits) -> Scene:
        """Return a version with the actors changed."""
        if name not in self._edited or self._edited[name][0] != edits:
            self._edited[name] = edits, edited(self.versions[name].scene, edits)
        return self._edited[name][1]


@functools.partial(jax.jit, static_argnames=("settings",))
def _render(scene: Scene, view: View, settings: RenderSettings, degree: Int[Array, ""]) -> SceneView:
    return render_scene(scene, view, settings, degree)


def edited(scene: Scene, edits: Edits) -> Scene:
    """Return a scene with actors moved and hidden.

    Raises:
        ValueError: there is no such actor.
    """
    for actor, *by, degrees in edits.moved:
        scene = edit.move(scene, actor, np.array(by, np.float64), float(np.deg2rad(degrees)))
    for actor in edits.hidden:
        scene = edit.remove(scene, actor)
    return scene


def shown_versions(look: Look) -> tuple[str, ...]:
    """Return the versions that are drawn, left to right."""
    return (look.version,) if look.split is None else (BEFORE, AFTER)


def side_by_side(
    left: UInt8[np.ndarray, "H W 3"], right: UInt8[np.ndarray, "H W 3"], share: float | int
) -> UInt8[np.ndarray, "H W 3"]:
    """Return one picture that is `left` up to `share` of the width and `right` from there, parted by a white line."""
    column = round(float(np.clip(share, 0, 1)) * left.shape[1])
    joined = np.where(np.arange(left.shape[1])[:, None] < column, left, right)
    if 0 < column < left.shape[1]:
        joined[:, column - 1 : column + 1] = 255
    return joined
