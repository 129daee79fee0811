"""The page: the cameras of clients, their images, and their downloads, on a viser server.

Callbacks of the server only queue jobs; the thread that calls `step` runs them. That thread makes its changes of the
page in the server's own thread (`_in_server_thread`): viser accepts messages from any thread, but it announces them
with an asyncio.Event, which is not thread-safe. An event set from another thread may wake nobody, and the client would
get no further message.
"""

import asyncio
import logging
import queue
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from scipy.spatial.transform import Rotation

from ff_jax.export.image_bytes import save_png
from ff_jax.export.video import write_mp4
from ff_jax.scene import View
from ff_jax.viewer.camera_path import frame_size, pose_at, recorded_path, square_size, view_at
from ff_jax.viewer.controls import Controls
from ff_jax.viewer.frame_rate import FrameRateController
from ff_jax.viewer.layers import with_legend
from ff_jax.viewer.session import Session, ViewerState

_REST = 0.3  # seconds without a change after which images are whole again
_POLL = 2.0  # seconds between two searches for checkpoints
_FITTING = "Computing the posterior from {} recorded views (checkpoints do not store it) …"


class _Request(NamedTuple):
    """Everything that the image of a client depends on."""

    camera: tuple[float, ...]  # orientation, position, field of view, aspect, time; rounded
    state: ViewerState
    side: int
    checkpoints: tuple


class Page:
    """The page of one run on one server.

    Attributes:
        controls: its controls.
    """

    def __init__(self, server: Any, session: Session, side: int):
        """Create the page on a viser server; the longest side of images is `side` pixels at first."""
        self.server, self.session = server, session
        self.path = recorded_path(session.reader.recording)
        self._jobs: queue.Queue[Callable[[], object]] = queue.Queue()
        self._downloads: dict[int, Callable[[], object]] = {}  # by client: one at a time
        self._controllers: dict[tuple, FrameRateController] = defaultdict(FrameRateController)  # costs differ by layer
        self._compiled: set[tuple] = set()
        self._requests: dict[int, _Request] = {}  # by client, as the other two
        self._moved_at: dict[int, float] = {}
        self._rendered: dict[int, tuple[_Request, int]] = {}
        self._polled = self._ticked = time.perf_counter()
        server.scene.set_up_direction(tuple(self.path.egos[0, :3, 2]))
        server.gui.configure_theme(control_width="medium", show_logo=False, show_share_button=False)
        server.gui.set_panel_label(f"FaithFusion · {session.reader.workdir.name}")
        self.controls = Controls(server.gui, session, self.path, side, self._schedule_change)
        self._connect_controls()
        server.on_client_connect(lambda client: self._schedule_change(lambda: self._init_client(client)))

    def _connect_controls(self) -> None:
        controls, schedule = self.controls, self._schedule_change
        for control in (controls.time, controls.shift, controls.follow):
            control.on_update(lambda _: schedule(self._move_cameras))
        controls.back.on_click(lambda _: schedule(lambda: self._move_cameras(always=True)))
        controls.screenshot.on_click(lambda event: self._queue_download(event.client, self._send_screenshot))
        controls.record.on_click(lambda event: self._queue_download(event.client, self._send_video))

    def _queue_download(self, client: Any, send: Callable[[Any], object]) -> None:
        """Queue a download, unless that client waits for one already."""
        if client is not None:
            self._downloads.setdefault(client.client_id, lambda: send(client))

    def serve(self) -> None:
        """Run until interrupted; errors are shown on the page."""
        while True:
            self.step()
            time.sleep(0.01)

    def step(self) -> None:
        """Run the queued jobs, render the images that have changed, and make one download."""
        self._serve_images()
        if self._downloads:
            client = next(iter(self._downloads))
            self._attempt(self._downloads[client])
            self._downloads.pop(client, None)

    def _serve_images(self) -> None:
        for _ in range(self._jobs.qsize()):
            self._attempt(self._jobs.get())
        self._advance_time()
        if time.perf_counter() - self._polled > _POLL:
            self._refresh()
        clients = self.server.get_clients()
        for known in (self._requests, self._moved_at, self._rendered):
            for name in [name for name in known if name not in clients]:
                del known[name]
        for client in clients.values():
            self._attempt(lambda client=client: self._update_image(client))

    def _attempt(self, job: Callable[[], object]) -> None:
        """Run a job; an error is shown on the page, and does not stop the page for the other clients."""
        try:
            job()
        except Exception as error:
            if not isinstance(error, ValueError | OSError | RuntimeError):
                logging.getLogger(__name__).exception("a job of the viewer failed")
            self._in_server_thread(self.controls.select_rgb)
            self._show_status(f"Not possible: {error}")
            time.sleep(_REST)

    def _schedule_change(self, change: Callable[[], object]) -> None:
        """Queue a change of the page."""
        self._jobs.put(lambda: self._in_server_thread(change))

    def _in_server_thread(self, change: Callable[[], object]) -> None:
        """Make a change of the page in the server's thread, and wait for it."""

        async def make() -> None:
            change()

        asyncio.run_coroutine_threadsafe(make(), self.server.get_event_loop()).result()

    def _advance_time(self) -> None:
        """Advance the time while the log is played; at the end it starts again."""
        now, clock = time.perf_counter(), self.controls.time
        elapsed, self._ticked = now - self._ticked, now
        if self.controls.play.value:
            after = clock.value + elapsed
            after = after if after <= self.path.times[-1] else float(self.path.times[0])
            self._in_server_thread(lambda: setattr(clock, "value", after))

    def _refresh(self) -> None:
        """Load newer checkpoints."""
        try:
            self.session.refresh()
            self._in_server_thread(self.controls.update_scenes)
        except (ValueError, OSError):
            pass  # training has deleted the checkpoint during the read; the next search finds a newer one
        self._polled = time.perf_counter()

    def _init_client(self, client: Any) -> None:
        """Move the camera of a new client to the path."""
        client.camera.fov = self.path.fov
        self._move_cameras([client], always=True)

    def _move_cameras(self, clients: list | None = None, always: bool = False) -> None:
        """Move cameras to the selected time and shift of the path."""
        if not (always or self.controls.follow.value):
            return
        pose = pose_at(self.path, self.controls.time.value, self.controls.shift.value)
        for client in clients or self.server.get_clients().values():
            with client.atomic():
                client.camera.up_direction = -pose[:3, 1]
                client.camera.position = pose[:3, 3]
                client.camera.look_at = pose[:3, 3] + 10 * pose[:3, 2]

    def _update_image(self, client: Any) -> None:
        """Render the image of a client if its request has changed."""
        name, now, state = client.client_id, time.perf_counter(), self.controls.state()
        request = self._request(client, state)
        if request != self._requests.get(name):
            self._requests[name], self._moved_at[name] = request, now
        controller = self._controllers[state.layer, state.split is None]
        divisor = controller.divisor(now - self._moved_at[name] < _REST)
        if self._rendered.get(name) == (request, divisor):
            return
        view = self._view(client, frame_size(self.controls.side // divisor, client.camera.aspect))
        program = state.layer, state.split is None, view.camera.width, view.camera.height
        if not self.session.is_ready(state):
            self._show_status(_FITTING.format(len(self.session.reader.batches)))
        elif program not in self._compiled:
            self._show_status("Compiling …")
        image = self.session.render(state, view)
        self._in_server_thread(lambda: client.scene.set_background_image(image, format="jpeg", jpeg_quality=90))
        if program not in self._compiled:
            self._compiled.add(program)
            self._rendered.pop(name, None)  # render again, at this size or another: this time included a compilation
            return
        self._rendered[name] = request, divisor
        seconds = time.perf_counter() - now
        if divisor == 1:
            controller.record(seconds)
        size, half = f"{view.camera.width} × {view.camera.height}", ", half size while moving" if divisor == 2 else ""
        self._show_status(f"{1 / seconds:.1f} frames/s at {size}{half}")

    def _request(self, client: Any, state: ViewerState) -> _Request:
        camera, time = client.camera, self.controls.time.value
        numbers = np.round([*camera.wxyz, *camera.position, camera.fov, camera.aspect, time], 5)
        checkpoints = tuple(version.checkpoint for version in self.session.versions.values())
        return _Request(tuple(numbers.tolist()), state, self.controls.side, checkpoints)

    def _view(self, client: Any, size: tuple[int, int]) -> View:
        """Build the view of a client's camera at a size in pixels."""
        camera, pose = client.camera, np.eye(4)
        wxyz = np.asarray(camera.wxyz, np.float64)
        pose[:3, :3], pose[:3, 3] = Rotation.from_quat(wxyz[[1, 2, 3, 0]]).as_matrix(), camera.position
        return view_at(self.path, pose, self.controls.time.value, camera.fov, camera.aspect, size)

    def _show_status(self, note: str) -> None:
        """Show a note and the progress of the run above the controls."""
        reader, versions = self.session.reader, self.session.versions
        steps = "; ".join(f"{name}: step {version.checkpoint.step}" for name, version in versions.items())
        progress = f"training, {reader.config.steps} in all" if reader.is_training() else "finished"
        self._in_server_thread(lambda: self.controls.set_note(note, f"{steps} ({progress})"))
        self.server.flush()

    def _send_screenshot(self, client: Any) -> None:
        """Send the image with its legend as a PNG file."""
        state = self.controls.state()
        view = self._view(client, square_size(self.controls.side, client.camera.aspect))
        image = with_legend(self.session.render(state, view), state.layer, state.scales)
        self._send_file(client, "view.png", lambda path: save_png(path, image))

    def _send_video(self, client: Any) -> None:
        """Send a drive along the path, at the current lane shift and state, as an MP4 file."""
        fps = self.controls.fps.value
        self._send_file(client, "drive.mp4", lambda path: write_mp4(path, self._drive(client), fps))
        self._show_status("Recorded.")

    def _send_file(self, client: Any, name: str, write: Callable[[Path], object]) -> None:
        """Start the download of a file that `write` makes."""
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / name)
            content = (Path(folder) / name).read_bytes()
        self._in_server_thread(lambda: client.send_file_download(name, content, save_immediately=True))

    def _drive(self, client: Any) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        state, path, count = self.controls.state(), self.path, int(self.controls.num_frames.value)
        shift, size = self.controls.shift.value, square_size(self.controls.side, path.aspect)
        for index, at in enumerate(np.linspace(path.times[0], path.times[-1], count)):
            if client.client_id not in self.server.get_clients():
                raise ValueError("the client that records has left.")
            self._serve_images()  # the others do not wait for the whole video
            self._show_status(f"Recording frame {index + 1} of {count} …")
            view = view_at(path, pose_at(path, float(at), shift), float(at), path.fov, path.aspect, size)
            yield with_legend(self.session.render(state, view), state.layer, state.scales)
