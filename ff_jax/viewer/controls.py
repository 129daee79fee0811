"""The controls of the page, created on the GUI of a viser server."""

import html
from collections.abc import Callable
from typing import Any

import numpy as np

from ff_jax.viewer.camera_path import RecordedPath
from ff_jax.viewer.layers import DEPTH, EIG, LAYERS, UCR, Scales, legend
from ff_jax.viewer.session import ActorEdits, Session, ViewerState

COMPARISON = "Before | after"  # entry of the scene menu
_LEGEND_WIDTH = 320  # pixels, the width of the panel
_SIDES = (160, 320, 640, 960, 1280, 1920)  # pixels; few, because every size is compiled

ScheduleFn = Callable[[Callable[[], object]], object]  # queues a change of the page


class Controls:
    """The controls; all clients share them.

    Attributes:
        time: seconds.
        shift: meters to the left.
        follow: whether the camera follows time and shift along the path.
        play: whether the time advances.
        back, screenshot, record: buttons.
        fps: frames per second of a recorded video.
        num_frames: its number of frames.
    """

    def __init__(self, gui: Any, session: Session, path: RecordedPath, side: int, schedule: ScheduleFn):
        """Create the controls; those that only change other controls `schedule` the change."""
        self.gui, self.session, self.path, self._schedule = gui, session, path, schedule
        self._actors = session.reader.recording.actors
        self._unit = session.reader.recording.log.unit
        self._moves: dict[int, tuple[float, float, float, float]] = {}
        self._note = gui.add_html("")
        with gui.add_folder("Show"):
            self._add_layers()
        with gui.add_folder("Camera"):
            self._add_camera(side)
        with gui.add_folder("Actors", expand_by_default=0 < len(self._actors) < 5):
            self._add_actors()
        with gui.add_folder("Save"):
            evaluate = session.reader.config.evaluate
            self.fps = gui.add_slider("Frames/s", 1, 60, 1, evaluate.fps)
            self.num_frames = gui.add_slider("Frames", 2, 600, 1, max(evaluate.video_frames, 2))
            self.screenshot = gui.add_button("Screenshot (PNG)")
            self.record = gui.add_button("Record the path (MP4)")
        self.update_scales()

    @property
    def _length(self) -> str:
        return "Meters" if self._unit == "m" else "Units"

    def _add_layers(self) -> None:
        gui, tau = self.gui, round(self.session.reader.config.eig.tau, 2)
        self._layer = gui.add_dropdown("Layer", LAYERS)
        self._legend = gui.add_image(np.full((50, _LEGEND_WIDTH, 3), 255, np.uint8), format="png", visible=False)
        self._nats = gui.add_slider("Nats at end", 0.1, 6.0, 0.1, 3.0, visible=False)
        self._meters = gui.add_slider(f"{self._length} at end", 10.0, 200.0, 5.0, 60.0, visible=False)
        self._tau = gui.add_slider("Threshold", 0.05, 3.0, 0.05, tau, visible=False, hint="nats")
        self._scene = gui.add_dropdown("Scene", self._scene_options(), initial_value=self._scene_options()[-1])
        self._split = gui.add_slider("Split", 0.0, 1.0, 0.01, 0.5, visible=False)
        for control in (self._layer, self._scene, self._nats, self._meters, self._tau):
            control.on_update(lambda _: self._schedule(self.update_scales))

    def _add_camera(self, side: int) -> None:
        gui, first = self.gui, float(self.path.times[0])
        last = max(float(self.path.times[-1]), first + 1e-3)  # the range of a slider must not be empty
        self.time = gui.add_slider("Time, s", first, last, (last - first) / 500, first)
        self.shift = gui.add_slider(f"Left, {self._unit}", -6.0, 6.0, 0.1, 0.0, hint="lane shift, left of travel")
        self.follow = gui.add_checkbox("Follow path", True, hint="time and lane shift move the camera")
        self.play = gui.add_checkbox("Play", False)
        self.back = gui.add_button("Back to the path")
        sides = tuple(map(str, sorted({*_SIDES, side})))
        self._side = gui.add_dropdown("Pixels", sides, initial_value=str(side), hint="longest side of images")

    def _add_actors(self) -> None:
        gui, has_actors = self.gui, bool(self._actors)
        if not has_actors:
            gui.add_markdown("This scene has no actors.")
        kinds = {box.track_id: box.category for box in self.session.reader.recording.log.boxes}
        self._visible = [gui.add_checkbox(f"{kinds.get(name, 'actor')} {name}", True) for name in self._actors]
        self._actor = gui.add_dropdown("Move", self._actors or ("none",), visible=has_actors)
        axes = "forward, left, up, in the frame of the actor"
        self._offset = gui.add_vector3(self._length, (0.0, 0.0, 0.0), step=0.1, visible=has_actors, hint=axes)
        self._turn = gui.add_slider("Turn, °", -180.0, 180.0, 1.0, 0.0, visible=has_actors, hint="to the left")
        self._actor.on_update(lambda _: self._schedule(self._show_move))
        for control in (self._offset, self._turn):
            control.on_update(lambda _: self._schedule(self._store_move))

    def set_note(self, first: str, second: str) -> None:
        """Show two lines of text above the controls."""
        # Not Markdown: the page parses that in the background, and an older text may replace a newer one.
        lines = f"<b>{html.escape(first)}</b><br>{html.escape(second)}"
        content = f'<div style="padding: 0 0.8em 0.6em; font-size: 0.85em">{lines}</div>'
        if content != self._note.content:
            self._note.content = content

    @property
    def side(self) -> int:
        """Return the longest side of images, pixels."""
        return int(self._side.value)

    def _scene_options(self) -> tuple[str, ...]:
        names = tuple(self.session.versions)
        return (COMPARISON, *names) if len(names) > 1 else names

    def update_scenes(self) -> None:
        """Update the scene menu; if its last entry was selected, the new last one will be."""
        before, options = self._scene.options, self._scene_options()
        if before != options:
            selected = options[-1] if self._scene.value == before[-1] else self._scene.value
            self._scene.options = options
            self._scene.value = selected

    def update_scales(self) -> None:
        """Show the legend and the controls that belong to the current layer."""
        layer = self._layer.value
        self._nats.visible, self._meters.visible = layer == EIG, layer == DEPTH
        self._tau.visible, self._split.visible = layer == UCR, self._scene.value == COMPARISON
        strip = legend(layer, self._scales(), _LEGEND_WIDTH)
        self._legend.visible = strip is not None
        if strip is not None:
            self._legend.image = strip

    def select_rgb(self) -> None:
        """Select the first layer, which every run has."""
        self._layer.value = LAYERS[0]

    def _scales(self) -> Scales:
        return Scales(float(self._nats.value), float(self._meters.value), float(self._tau.value), self._unit)

    def state(self) -> ViewerState:
        """Collect the values of the controls."""
        versions, scene = tuple(self.session.versions), self._scene.value
        hidden = tuple(actor for actor, is_visible in enumerate(self._visible) if not is_visible.value)
        edits = ActorEdits(hidden, tuple((actor, *values) for actor, values in sorted(self._moves.items())))
        split = float(self._split.value) if scene == COMPARISON else None
        version = scene if scene in versions else versions[-1]
        return ViewerState(self._layer.value, version, split, self._scales(), edits)

    def _show_move(self) -> None:
        """Show the move of the selected actor."""
        move = self._moves.get(self._actors.index(self._actor.value), (0.0, 0.0, 0.0, 0.0))
        self._offset.value, self._turn.value = move[:3], move[3]

    def _store_move(self) -> None:
        """Store the move of the selected actor."""
        x, y, z = map(float, self._offset.value)
        self._moves[self._actors.index(self._actor.value)] = x, y, z, float(self._turn.value)
