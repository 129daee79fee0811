"""Hostile clients of the viewer: real connections with any values, beside a good one that keeps getting pictures."""

import asyncio
import itertools
import math
import random
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from ff_jax.viewer import Guard, Page, Session
from ff_jax.viewer.guard import MAX_CLIENTS, is_known_origin, is_valid
from tests.ff_jax.viewer.tiny_run import make_log, make_reader, write

viser = pytest.importorskip("viser", reason="the viewer needs the package viser")
msgspec = pytest.importorskip("msgspec")
connect = pytest.importorskip("websockets.asyncio.client").connect
ConnectionClosed = pytest.importorskip("websockets.exceptions").ConnectionClosed

CAMERA = {
    "type": "ViewerCameraMessage", "wxyz": [1.0, 0.0, 0.0, 0.0], "position": [0.0, 0.0, 0.0], "fov": 1.0, "near": 0.1,
    "far": 1000.0, "image_height": 600, "image_width": 900, "look_at": [0.0, 0.0, 1.0], "up_direction": [0.0, 1.0, 0.0],
}  # fmt: skip
ODD = [0, -1, 1e8, 1e308, math.nan, math.inf, -math.inf, 2**63, "foo", "", None, [], [math.nan] * 4, [0.0] * 4]
ODD += [{}, True, [1e30] * 3, [[1]], "UCR mask", 1e-300, b"x"]


@pytest.fixture
def page(tmp_path, monkeypatch):
    reader, state, capacity = make_reader(tmp_path, make_log(tmp_path))
    write(tmp_path, "fused", 60, state, capacity)
    session = Session(reader)
    sizes = []

    def render(state, view):
        sizes.append((view.camera.width, view.camera.height))
        assert np.isfinite(view.camera.camera_from_world).all() and np.isfinite(view.camera.K).all()
        return np.zeros((view.camera.height, view.camera.width, 3), np.uint8)

    monkeypatch.setattr(session, "render", render)
    server = viser.ViserServer("127.0.0.1", 0, verbose=False)
    Guard(server, ["proxy.example.org"])
    page = Page(server, session, 48)
    page.sizes, stop = sizes, threading.Event()

    def serve():
        while not stop.is_set():
            page.step()
            time.sleep(0.001)

    thread = threading.Thread(target=serve)
    thread.start()
    yield page
    stop.set()
    thread.join()
    server.stop()


def open_socket(page, origin="http://127.0.0.1:8080"):
    address = f"ws://127.0.0.1:{page.server.get_port()}"
    return connect(address, origin=origin, subprotocols=[f"viser-v{viser.__version__}"], max_size=None)


async def wait_for_picture(socket):
    """Read messages until one has a picture, and return the seconds it took."""
    import zstandard

    begin = time.perf_counter()
    while True:
        data = await asyncio.wait_for(socket.recv(), 10)
        content = data[16 : 16 + int.from_bytes(data[8:16], "little")]
        if b"BackgroundImageMessage" in zstandard.ZstdDecompressor().decompress(content):
            return time.perf_counter() - begin


def hostile_messages(page, seed):
    """Yield messages with one odd value, odd types, or no message at all."""
    rng, identifiers = random.Random(seed), list(page.server.gui._gui_input_handle_from_uuid)
    while True:
        update = {"type": "GuiUpdateMessage", "uuid": rng.choice([*identifiers, "none"])}
        yield rng.choice([
            CAMERA | {rng.choice(list(CAMERA)[1:]): rng.choice(ODD)},
            update | {"updates": {rng.choice(["value", "value", "removed", "update_cb"]): rng.choice(ODD)}},
            {"type": rng.choice(["ShareUrlRequest", "FileTransferStartUpload", "Message", "x"])},
        ])  # fmt: skip


async def attack(page, seed, count):
    """Send hostile messages; connections that the server closes are opened again."""
    messages = hostile_messages(page, seed)
    while count > 0:
        try:
            async with open_socket(page) as socket:
                for message in itertools.islice(messages, count):
                    count -= 1
                    await socket.send(msgspec.msgpack.encode(message))
                    await asyncio.sleep(0.002)
        except ConnectionClosed:
            pass


def test_a_good_client_keeps_getting_pictures_beside_hostile_ones(page, capsys):
    async def run():
        async with open_socket(page) as good:
            attacks = asyncio.gather(*(attack(page, seed, 125) for seed in range(4)))
            waits = []
            while not attacks.done() or len(waits) < 5:
                position = [0.001 * len(waits), 0.0, 0.0]
                await good.send(msgspec.msgpack.encode(CAMERA | {"position": position}))
                waits.append(await wait_for_picture(good))
            await attacks
            return waits

    waits = asyncio.run(run())
    assert len(waits) >= 5 and max(waits) < 5
    assert max(max(size) for size in page.sizes) <= 1920
    assert page.server._share_tunnel is None
    assert page.controls.num_frames.value <= page.controls.num_frames.max
    capsys.readouterr()


def test_foreign_pages_and_too_many_clients_are_refused(page):
    async def is_served(origin):
        async with open_socket(page, origin) as socket:
            try:
                await socket.send(msgspec.msgpack.encode(CAMERA))
                await wait_for_picture(socket)
            except ConnectionClosed as closed:
                return closed.rcvd.code
            return True

    async def run():
        known = [await is_served(origin) for origin in (None, "http://localhost:99", "https://proxy.example.org")]
        foreign = [await is_served(origin) for origin in ("http://evil.example.org", "null", "http://127.0.0.1.evil")]
        sockets = [await open_socket(page) for _ in range(MAX_CLIENTS)]
        extra = await is_served(None)
        for socket in sockets:
            await socket.close()
        return known, foreign, extra

    assert asyncio.run(run()) == ([True] * 3, [1008] * 3, 1013)


def test_origins_are_compared_as_names_of_hosts():
    names = {"localhost", "127.0.0.1", "::1"}
    assert all(is_known_origin(origin, names) for origin in (None, "http://LOCALHOST:1", "http://[::1]:80"))
    assert not any(is_known_origin(origin, names) for origin in ("", "null", "http://[", "file://", "localhost"))


def message(kind, **fields):
    return type(kind, (SimpleNamespace,), {})(**fields)


def camera(**changes):
    return message("ViewerCameraMessage", **({k: v for k, v in CAMERA.items() if k != "type"} | changes))


def test_cameras_are_bounded():
    assert is_valid(camera(), {})
    bad = [{"image_height": 0}, {"image_width": 10**6}, {"image_width": 6000}, {"wxyz": [0.0] * 4}, {"fov": 0.0}]
    bad += [
        {"wxyz": [math.nan] * 4},
        {"position": [1e30, 0, 0]},
        {"position": [0, 0]},
        {"far": math.inf},
        {"fov": True},
    ]
    assert not any(is_valid(camera(**change), {}) for change in bad)
    assert not is_valid(message("ViewerCameraMessage"), {}) and not is_valid(message("ShareUrlRequest"), {})


def test_values_of_controls_are_bounded():
    controls = {
        "slider": message("GuiSliderHandle", min=2, max=600),
        "menu": message("GuiDropdownHandle", options=("RGB", "EIG")),
        "box": message("GuiCheckboxHandle"),
        "vector": message("GuiVector3Handle"),
        "html": message("GuiHtmlHandle"),
    }
    update = lambda name, **updates: is_valid(message("GuiUpdateMessage", uuid=name, updates=updates), controls)
    good = {"slider": (2, 600, 30.5), "menu": ("EIG",), "box": (True,), "vector": ([0, 1.5, -2],)}
    for name, values in good.items():
        assert all(update(name, value=value) for value in values)
    bad = {"slider": (1, 1e8, math.nan, "3", True), "menu": ("foo", 1), "box": (1, None), "vector": ([1, 2], [1e9] * 3)}
    for name, values in (bad | {"html": ("<b>",), "none": (1,)}).items():
        assert not any(update(name, value=value) for value in values)
    assert not update("slider", min=0) and not update("slider", value=3, max=1e9)
