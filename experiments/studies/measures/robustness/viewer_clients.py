"""Hostile clients of the viewer, beside a good one that keeps getting pictures."""

import asyncio
import itertools
import math
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np

from experiments.studies.measures.robustness.outcomes import ATTACK, HANG, RUNS, SENTENCE, Result
from ff_jax.viewer import Guard, Page, Session
from ff_jax.viewer.guard import MAX_CLIENTS

CAMERA = {
    "type": "ViewerCameraMessage", "wxyz": [1.0, 0.0, 0.0, 0.0], "position": [0.0, 0.0, 0.0], "fov": 1.0, "near": 0.1,
    "far": 1000.0, "image_height": 600, "image_width": 900, "look_at": [0.0, 0.0, 1.0], "up_direction": [0.0, 1.0, 0.0],
}  # fmt: skip
ODD = [0, -1, 1e8, 1e308, math.nan, math.inf, -math.inf, 2**63, "foo", "", None, [], [math.nan] * 4, [0.0] * 4]
ODD += [{}, True, [1e30] * 3, [[1]], "UCR mask", 1e-300, b"x"]
PROXY = "proxy.example.org"  # whose pages may connect
KNOWN = (None, "http://localhost:99", f"https://{PROXY}")
FOREIGN = ("http://evil.example.org", "null", "http://127.0.0.1.evil", f"http://{PROXY}.evil", "file://")
PATHS = ("/../../../../etc/passwd", "/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/..%2f..%2f..%2fetc/passwd")
MAX_WAIT = 5.0  # seconds until the good client has a picture
MAX_SIDE = 1920  # pixels of a picture
_TIMEOUT = 10.0  # seconds until a picture counts as one that never comes


class Viewer(NamedTuple):
    """A page on a server of its own, and the sizes of the pictures that it was asked for."""

    page: Page
    sizes: list[tuple[int, int]]


@contextmanager
def serve(session: Session) -> Iterator[Viewer]:
    """Serve the page of a session whose pictures are black: what is tested is which of them are asked for."""
    import viser

    sizes: list[tuple[int, int]] = []

    def render(state: object, view: Any) -> np.ndarray:
        sizes.append((view.camera.width, view.camera.height))
        if not (np.isfinite(view.camera.camera_from_world).all() and np.isfinite(view.camera.K).all()):
            sizes.append((1 << 30, 1 << 30))
        return np.zeros((view.camera.height, view.camera.width, 3), np.uint8)

    session.render = render  # type: ignore[method-assign]
    server = viser.ViserServer("127.0.0.1", 0, verbose=False)
    Guard(server, [PROXY])
    page, stop = Page(server, session, 48), threading.Event()

    def run() -> None:
        while not stop.is_set():
            page.step()
            time.sleep(0.001)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield Viewer(page, sizes)
    finally:
        stop.set()
        thread.join()
        server.stop()


def open_socket(page: Page, origin: str | None = "http://127.0.0.1:8080") -> Any:
    """Open a connection to the server of a page."""
    import viser
    from websockets.asyncio.client import connect

    address: Any = f"ws://127.0.0.1:{page.server.get_port()}"
    return connect(address, origin=origin, subprotocols=[f"viser-v{viser.__version__}"], max_size=None)  # type: ignore


def encoded(message: Mapping[str, Any]) -> bytes:
    """Encode a message as viser does."""
    import msgspec

    return msgspec.msgpack.encode(message)


async def wait_for_picture(socket: Any) -> float:
    """Read messages until one has a picture, and return the seconds it took."""
    import zstandard

    begin = time.perf_counter()
    while True:
        data = await asyncio.wait_for(socket.recv(), _TIMEOUT)
        content = data[16 : 16 + int.from_bytes(data[8:16], "little")]
        if b"BackgroundImageMessage" in zstandard.ZstdDecompressor().decompress(content):
            return time.perf_counter() - begin


def hostile_messages(page: Page, seed: int) -> Iterator[bytes | str]:
    """Yield messages with one odd value or odd types, and data that is no message at all."""
    rng, identifiers = random.Random(seed), list(page.server.gui._gui_input_handle_from_uuid)
    while True:
        update = {"type": "GuiUpdateMessage", "uuid": rng.choice([*identifiers, "none"])}
        yield rng.choice([
            encoded(CAMERA | {rng.choice(list(CAMERA)[1:]): rng.choice(ODD)}),
            encoded(update | {"updates": {rng.choice(["value", "value", "removed", "update_cb"]): rng.choice(ODD)}}),
            encoded({"type": rng.choice(["ShareUrlRequest", "FileTransferStartUpload", "Message", "x"])}),
            rng.choice([b"", b"\xc1", os.urandom(64), encoded(CAMERA)[:-3], b"\xdf\xff\xff\xff\xff", b"\x92" * 5000]),
            rng.choice(["text", "{}", "\0"]),
        ])  # fmt: skip


async def attack(page: Page, seed: int, count: int) -> int:
    """Send hostile messages; connections that the server closes are opened again. Return the number of messages."""
    from websockets.exceptions import ConnectionClosed

    messages, sent = hostile_messages(page, seed), 0
    while sent < count:
        with suppress(ConnectionClosed):
            async with open_socket(page) as socket:
                for message in itertools.islice(messages, count - sent):
                    sent += 1
                    await socket.send(message)
                    await asyncio.sleep(0.002)
    return sent


async def pictures_beside(page: Page, attacks: Coroutine) -> list[float]:
    """Let a good client ask for pictures during attacks; return the seconds that each took."""
    async with open_socket(page) as good:
        task, waits = asyncio.create_task(attacks), []
        while not task.done() or len(waits) < 5:
            await good.send(encoded(CAMERA | {"position": [0.001 * len(waits), 0.0, 0.0]}))
            waits.append(await wait_for_picture(good))
        await task
        return waits


async def answer_to(page: Page, origin: str | None) -> int:
    """Connect from an origin; return 0 if a picture comes, else the code of the closed connection."""
    from websockets.exceptions import ConnectionClosed

    async with open_socket(page, origin) as socket:
        try:
            await socket.send(encoded(CAMERA))
            await wait_for_picture(socket)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006
        return 0


async def answer_when_full(page: Page) -> int:
    """Connect when as many clients as possible are connected."""
    sockets = [await open_socket(page) for _ in range(MAX_CLIENTS)]
    try:
        return await answer_to(page, None)
    finally:
        for socket in sockets:
            await socket.close()


async def send_much(page: Page) -> None:
    """Send messages of many megabytes, and open connections that say nothing."""
    for _ in range(3):
        with suppress(Exception):
            async with open_socket(page) as socket:
                await socket.send(encoded(CAMERA | {"type": "x" * (32 << 20)}))
                await asyncio.sleep(0.1)
    idle = [await asyncio.open_connection("127.0.0.1", page.server.get_port()) for _ in range(20)]
    await asyncio.sleep(0.5)
    for _, writer in idle:
        writer.close()


def read_path(page: Page, path: str) -> bytes:
    """Ask the server for a file."""
    address = f"http://127.0.0.1:{page.server.get_port()}{path}"
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT) as answer:
            return answer.read(1 << 16)
    except urllib.error.HTTPError as error:
        return str(error.code).encode()


def results(viewer: Viewer, count: int) -> Iterator[Result]:
    """Attack a viewer in all ways.

    Args:
        viewer: from `serve`.
        count: number of hostile messages.
    """
    page = viewer.page

    async def attack_together() -> None:
        await asyncio.gather(*(attack(page, seed, -(-count // 4)) for seed in range(4)))

    yield from _judge_waits(f"{count} messages", lambda: pictures_beside(page, attack_together()), count)
    yield from _judge_waits("large messages and idle connections", lambda: pictures_beside(page, send_much(page)), 1)
    largest = max(map(max, viewer.sizes))
    yield Result("sizes of pictures", RUNS if largest <= MAX_SIDE else ATTACK, f"at most {largest} pixels")
    yield Result("public tunnel", RUNS if page.server._share_tunnel is None else ATTACK)
    for origin in KNOWN:
        code = asyncio.run(answer_to(page, origin))
        yield Result(f"origin {origin}", HANG if code else RUNS, str(code))
    for origin in FOREIGN:
        yield Result(f"origin {origin}", SENTENCE if asyncio.run(answer_to(page, origin)) == 1008 else ATTACK)
    yield Result("one client too many", SENTENCE if asyncio.run(answer_when_full(page)) == 1013 else ATTACK)
    for path in PATHS:
        yield Result(f"file {path}", ATTACK if b"root:" in read_path(page, path) else SENTENCE)


def _judge_waits(name: str, run: Callable[[], Coroutine], count: int) -> Iterator[Result]:
    """Judge the waits of the good client; each hostile message counts as one attempt."""
    begin = time.time()
    try:
        waits = asyncio.run(run())
        kind, text = (RUNS if max(waits) < MAX_WAIT else HANG), f"{len(waits)} pictures, at most {max(waits):.2f} s"
    except Exception as error:  # the good client was cut off
        kind, text = HANG, f"{type(error).__name__}: {error}"
    seconds = time.time() - begin
    yield from (Result(f"{name} {number}", kind, text, seconds / count) for number in range(count))
