"""The page: visitors' cameras, their pictures, what they save. It talks to a viser server that is handed in.

Callbacks of the server only leave jobs; everything else happens in the thread that calls `step`. What that thread
changes on the page it lets the server's own thread do (`_on_page`): viser queues messages in either thread, but sets an
asyncio.Event to announce them, and one that is set from outside at the wrong moment wakes nobody. From then on that
visitor would get no message any more.
"""

import asyncio
import queue
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from ff_jax.export.image_bytes import save_png
from ff_jax.export.video import write_mp4
from ff_jax.scene.scene import View
from ff_jax.viewer.camera_path import frame_size, pose_at, recorded_path, square_size, view_at
from ff_jax.viewer.controls import Controls
from ff_jax.viewer.frame_rate import Pace
from ff_jax.viewer.layers import captioned
from ff_jax.viewer.session import Look, Session

_REST = 0.3  # seconds without a change until pictures are whole again
_POLL = 2.0  # seconds between two looks for checkpoints
_LEARNING = "Learning what {} recorded views leave open (no checkpoint holds it) …"


class Page:
    """What one server shows of one run.

    Attributes:
        controls: what the visitors ask for.
    """

    def __init__(self, server: Any, session: Session, side: int):
        """Lay out the page on a viser server; pictures are at first `side` pixels long."""
        self.server, self.session = server, session
        self.path = recorded_path(session.reader.log, session.reader.feed)
        self._jobs: queue.Queue[Callable[[], None]] = queue.Queue()
        self._paces: dict[tuple, Pace] = defaultdict(Pace)  # by what is drawn: layers differ in cost
        self._compiled: set[tuple] = set()
        self._asked, self._moved_at, self._drawn = {}, {}, {}  # by visitor
        self._polled = self._ticked = time.perf_counter()
        server.scene.set_up_direction(tuple(self.path.egos[0, :3, 2]))
        server.gui.configure_theme(control_width="medium", show_logo=False, show_share_button=False)
        server.gui.set_panel_label(f"FaithFusion · {session.reader.workdir.name}")
        later = self._jobs.put
        change = lambda job: later(lambda: self._on_page(job))
        self.controls = controls = Controls(server.gui, session, self.path, side, change)
        for control in (controls.time, controls.shift, controls.follow):
            control.on_update(lambda _: change(self._carry))
        controls.back.on_click(lambda _: change(lambda: self._carry(always=True)))
        controls.shoot.on_click(lambda event: later(lambda: self._screenshot(event.client)))
        controls.record.on_click(lambda event: later(lambda: self._record(event.client)))
        server.on_client_connect(lambda client: change(lambda: self._welcome(client)))

    def serve(self) -> None:
        """Answer until interrupted; what cannot be drawn is said on the page."""
        while True:
            try:
                self.step()
            except (ValueError, OSError, RuntimeError) as error:
                self._on_page(self.controls.show_colours)
                self._tell(f"Not possible: {error}")
                time.sleep(_REST)
            time.sleep(0.01)

    def step(self) -> None:
        """Answer everything that has happened."""
        while not self._jobs.empty():
            self._jobs.get()()
        self._advance()
        if time.perf_counter() - self._polled > _POLL:
            self._refresh()
        for client in self.server.get_clients().values():
            self._draw(client)

    def _on_page(self, change: Callable[[], object]) -> None:
        """Make a change of the page, in the server's thread, and wait until it is made."""

        async def make() -> None:
            change()

        asyncio.run_coroutine_threadsafe(make(), self.server.get_event_loop()).result()

    def _advance(self) -> None:
        """Let time go on while the log is played, from the start again at its end."""
        now, clock = time.perf_counter(), self.controls.time
        passed, self._ticked = now - self._ticked, now
        if self.controls.play.value:
            after = clock.value + passed
            after = after if after <= self.path.times[-1] else float(self.path.times[0])
            self._on_page(lambda: setattr(clock, "value", after))

    def _refresh(self) -> None:
        """Load newer checkpoints."""
        try:
            self.session.refresh()
            self._on_page(self.controls.offer_scenes)
        except (ValueError, OSError):
            pass  # training has deleted what was being read; the next look finds a newer one
        self._polled = time.perf_counter()

    def _welcome(self, client: Any) -> None:
        """Put a new visitor's camera onto the path."""
        client.camera.fov = self.path.fov
        self._carry([client], always=True)

    def _carry(self, clients: list | None = None, always: bool = False) -> None:
        """Move cameras to the chosen place on the path."""
        if not (always or self.controls.follow.value):
            return
        pose = pose_at(self.path, self.controls.time.value, self.controls.shift.value)
        for client in clients or self.server.get_clients().values():
            with client.atomic():
                client.camera.up_direction = -pose[:3, 1]
                client.camera.position = pose[:3, 3]
                client.camera.look_at = pose[:3, 3] + 10 * pose[:3, 2]

    def _draw(self, client: Any) -> None:
        """Draw a visitor's picture if anything about it has changed."""
        who, now, look = client.client_id, time.perf_counter(), self.controls.look()
        asked = self._all_that_matters(client, look)
        if asked != self._asked.get(who):
            self._asked[who], self._moved_at[who] = asked, now
        pace = self._paces[look.layer, look.split is None]
        divisor = pace.divisor(now - self._moved_at[who] < _REST)
        if self._drawn.get(who) == (asked, divisor):
            return
        view = self._view(client, frame_size(self.controls.side // divisor, client.camera.aspect))
        kind = look.layer, look.split is None, view.camera.width, view.camera.height
        if not self.session.knows(look):
            self._tell(_LEARNING.format(len(self.session.reader.feed.frames)))
        elif kind not in self._compiled:
            self._tell("Compiling …")
        picture = self.session.picture(look, view)
        self._on_page(lambda: client.scene.set_background_image(picture, format="jpeg", jpeg_quality=90))
        if kind not in self._compiled:
            self._compiled.add(kind)
            self._drawn.pop(who, None)  # draw again, at this size or another: a compilation says nothing of the pace
            return
        self._drawn[who] = asked, divisor
        self._tell_pace(pace, time.perf_counter() - now, view, divisor)

    def _tell_pace(self, pace: Pace, seconds: float, view: View, divisor: int) -> None:
        if divisor == 1:
            pace.done(seconds)
        size, half = f"{view.camera.width} × {view.camera.height}", ", half size while moving" if divisor == 2 else ""
        self._tell(f"{1 / seconds:.1f} frames/s at {size}{half}")

    def _all_that_matters(self, client: Any, look: Look) -> tuple:
        """Return what a visitor's picture depends on."""
        camera, controls = client.camera, self.controls
        place = np.round([*camera.wxyz, *camera.position, camera.fov, camera.aspect, controls.time.value], 5)
        return *place.tolist(), look, controls.side, tuple(loaded.newest for loaded in self.session.versions.values())

    def _view(self, client: Any, size: tuple[int, int]) -> View:
        """Return what a visitor's camera sees now, as a picture of `size` pixels."""
        camera, pose = client.camera, np.eye(4)
        pose[:3, :3], pose[:3, 3] = _matrix(np.asarray(camera.wxyz, np.float64)), camera.position
        return view_at(self.path, pose, self.controls.time.value, camera.fov, camera.aspect, size)

    def _tell(self, note: str) -> None:
        """Show a note above the controls, and how far the run is."""
        reader = self.session.reader
        steps = "; ".join(f"{name}: step {loaded.newest.step}" for name, loaded in self.session.versions.items())
        state = f"training, {reader.config.steps} in all" if reader.training() else "finished"
        self._on_page(lambda: self.controls.say(note, f"{steps} ({state})"))
        self.server.flush()

    def _screenshot(self, client: Any) -> None:
        """Send the picture with its scale as a PNG file."""
        look = self.controls.look()
        view = self._view(client, square_size(self.controls.side, client.camera.aspect))
        picture = captioned(self.session.picture(look, view), look.layer, look.scales)
        self._send(client, "view.png", lambda path: save_png(path, picture))

    def _record(self, client: Any) -> None:
        """Send a drive along the path, at the lane shift and as it is shown now, as an MP4 file."""
        self._send(client, "drive.mp4", lambda path: write_mp4(path, self._drive(), self.controls.fps.value))
        self._tell("Recorded.")

    def _send(self, client: Any, name: str, write: Callable[[Path], object]) -> None:
        """Let a visitor download what `write` writes."""
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / name)
            content = (Path(folder) / name).read_bytes()
        self._on_page(lambda: client.send_file_download(name, content, save_immediately=True))

    def _drive(self) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        look, path, count = self.controls.look(), self.path, int(self.controls.count.value)
        shift, size = self.controls.shift.value, square_size(self.controls.side, path.aspect)
        for index, at in enumerate(np.linspace(path.times[0], path.times[-1], count)):
            self._tell(f"Recording frame {index + 1} of {count} …")
            view = view_at(path, pose_at(path, float(at), shift), float(at), path.fov, path.aspect, size)
            yield captioned(self.session.picture(look, view), look.layer, look.scales)


def _matrix(wxyz: Float[np.ndarray, "4"]) -> Float[np.ndarray, "3 3"]:
    from scipy.spatial.transform import Rotation

    return Rotation.from_quat(wxyz[[1, 2, 3, 0]]).as_matrix()
