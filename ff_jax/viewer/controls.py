"""The controls of the page, made on the GUI of a viser server that is handed in."""

import html
from collections.abc import Callable
from typing import Any

import numpy as np

from ff_jax.viewer.camera_path import RecordedPath
from ff_jax.viewer.layers import DEPTH, EIG, LAYERS, UCR, Scales, legend
from ff_jax.viewer.session import Edits, Look, Session

BOTH = "Before | after"
_LEGEND = 320  # pixels, the width of the panel
_SIDES = (160, 320, 640, 960, 1280, 1920)  # a few choices: every size is compiled once


class Controls:
    """What the visitors ask for; shared by all of them, as the controls are.

    Attributes:
        time, shift, follow, play: seconds; metres to the left; whether the camera goes along; whether time runs.
        side: longest side of pictures, pixels.
        fps, count: frames a second, and frames, of a recording.
    """

    def __init__(self, gui: Any, session: Session, path: RecordedPath, side: int, later: Callable[[Callable], None]):
        """Lay out the controls; those that only change each other do so through `later`, as jobs of the page."""
        self.gui, self.session, self.path, self._later = gui, session, path, later
        self.names = session.reader.feed.actors
        self._moves: dict[int, tuple[float, ...]] = {}
        self._note = gui.add_html("")
        with gui.add_folder("Show"):
            self._lay_out_layers()
        with gui.add_folder("Camera"):
            self._lay_out_camera(side)
        with gui.add_folder("Actors", expand_by_default=0 < len(self.names) < 5):
            self._lay_out_actors()
        with gui.add_folder("Save"):
            evaluate = session.reader.config.evaluate
            self.fps = gui.add_slider("Frames/s", 1, 60, 1, evaluate.fps)
            self.count = gui.add_slider("Frames", 2, 600, 1, max(evaluate.video_frames, 2))
            self.shoot = gui.add_button("Screenshot (PNG)")
            self.record = gui.add_button("Record the path (MP4)")
        self.show_scales()

    def _lay_out_layers(self) -> None:
        gui, tau = self.gui, round(self.session.reader.config.eig.tau, 2)
        self._layer = gui.add_dropdown("Layer", LAYERS)
        self._legend = gui.add_image(np.full((50, _LEGEND, 3), 255, np.uint8), format="png", visible=False)
        self._nats = gui.add_slider("Nats at end", 0.1, 6.0, 0.1, 3.0, visible=False)
        self._metres = gui.add_slider("Metres at end", 10.0, 200.0, 5.0, 60.0, visible=False)
        self._tau = gui.add_slider("Threshold", 0.05, 3.0, 0.05, tau, visible=False, hint="nats")
        self._scene = gui.add_dropdown("Scene", self.scenes(), initial_value=self.scenes()[-1])
        self._split = gui.add_slider("Split", 0.0, 1.0, 0.01, 0.5, visible=False)
        for control in (self._layer, self._scene, self._nats, self._metres, self._tau):
            control.on_update(lambda _: self._later(self.show_scales))

    def _lay_out_camera(self, side: int) -> None:
        gui, first = self.gui, float(self.path.times[0])
        last = max(float(self.path.times[-1]), first + 1e-3)  # a slider needs some length
        self.time = gui.add_slider("Time, s", first, last, (last - first) / 500, first)
        self.shift = gui.add_slider("Left, m", -6.0, 6.0, 0.1, 0.0, hint="lane shift, left of travel")
        self.follow = gui.add_checkbox("Follow path", True, hint="time and lane shift carry the camera along")
        self.play = gui.add_checkbox("Play", False)
        self.back = gui.add_button("Back to the path")
        sides = tuple(map(str, sorted({*_SIDES, side})))
        self._side = gui.add_dropdown("Pixels", sides, initial_value=str(side), hint="longest side of pictures")

    def _lay_out_actors(self) -> None:
        gui, some = self.gui, bool(self.names)
        if not some:
            gui.add_markdown("This scene has no actors.")
        kinds = {box.track_id: box.category for box in self.session.reader.log.boxes}
        self._shown = [gui.add_checkbox(f"{kinds.get(name, 'actor')} {name}", True) for name in self.names]
        self._actor = gui.add_dropdown("Move", self.names or ("none",), visible=some)
        axes = "forward, left, up, as the actor sees it"
        self._by = gui.add_vector3("Metres", (0.0, 0.0, 0.0), step=0.1, visible=some, hint=axes)
        self._turn = gui.add_slider("Turn, °", -180.0, 180.0, 1.0, 0.0, visible=some, hint="to the left")
        self._actor.on_update(lambda _: self._later(self._show_move))
        for control in (self._by, self._turn):
            control.on_update(lambda _: self._later(self._keep_move))

    def say(self, first: str, second: str) -> None:
        """Show two lines of text above the controls."""
        # Not Markdown: the page parses that in the background, and an older text may come last.
        lines = f"<b>{html.escape(first)}</b><br>{html.escape(second)}"
        content = f'<div style="padding: 0 0.8em 0.6em; font-size: 0.85em">{lines}</div>'
        if content != self._note.content:
            self._note.content = content

    @property
    def side(self) -> int:
        """Return the longest side of pictures, pixels."""
        return int(self._side.value)

    def scenes(self) -> tuple[str, ...]:
        """Return what can be shown now."""
        names = tuple(self.session.versions)
        return (BOTH, *names) if len(names) > 1 else names

    def offer_scenes(self) -> None:
        """Offer the scenes that there are now; who looked at the last one sees the new last one."""
        offered = self._scene.options
        if offered != self.scenes():
            last = self._scene.value == offered[-1]
            chosen = self.scenes()[-1] if last else self._scene.value
            self._scene.options = self.scenes()
            self._scene.value = chosen

    def show_scales(self) -> None:
        """Show the controls and the legend that belong to what is shown."""
        layer = self._layer.value
        self._nats.visible, self._metres.visible = layer == EIG, layer == DEPTH
        self._tau.visible, self._split.visible = layer == UCR, self._scene.value == BOTH
        strip = legend(layer, self._scales(), _LEGEND)
        self._legend.visible = strip is not None
        if strip is not None:
            self._legend.image = strip

    def show_colours(self) -> None:
        """Go back to the first layer, which every run has."""
        self._layer.value = LAYERS[0]

    def _scales(self) -> Scales:
        return Scales(float(self._nats.value), float(self._metres.value), float(self._tau.value))

    def look(self) -> Look:
        """Return what the controls ask for."""
        versions, scene = tuple(self.session.versions), self._scene.value
        hidden = tuple(actor for actor, shown in enumerate(self._shown) if not shown.value)
        edits = Edits(hidden, tuple((actor, *values) for actor, values in sorted(self._moves.items())))
        split = float(self._split.value) if scene == BOTH else None
        version = scene if scene in versions else versions[-1]
        return Look(self._layer.value, version, split, self._scales(), edits)

    def _show_move(self) -> None:
        """Show how far the chosen actor was moved."""
        *by, turn = self._moves.get(self.names.index(self._actor.value), (0.0,) * 4)
        self._by.value, self._turn.value = tuple(by), turn

    def _keep_move(self) -> None:
        """Keep how far the chosen actor is moved."""
        moved = (*map(float, self._by.value), float(self._turn.value))
        self._moves[self.names.index(self._actor.value)] = moved
