"""The page when rendering is slow: a fake client on a real viser server."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from ff_jax.viewer import Page, Session
from ff_jax.viewer.page import _REST
from tests.ff_jax.viewer.tiny_run import make_log, make_reader, write

viser = pytest.importorskip("viser", reason="the viewer needs the package viser")

pytestmark = pytest.mark.slow


@pytest.fixture
def page(tmp_path, monkeypatch):
    reader, state, capacity = make_reader(tmp_path, make_log(tmp_path))
    write(tmp_path, "fused", 60, state, capacity)
    session = Session(reader)

    def render_slowly(state, view):
        time.sleep(0.1)
        return np.zeros((view.camera.height, view.camera.width, 3), np.uint8)

    monkeypatch.setattr(session, "render", render_slowly)
    server = viser.ViserServer("127.0.0.1", 0, verbose=False)
    yield Page(server, session, 48)
    server.stop()


def test_at_rest_the_image_is_whole_although_half_size_compiled_after_it(page):
    sizes = []
    scene = SimpleNamespace(set_background_image=lambda image, **_: sizes.append(image.shape[:2]))
    camera = SimpleNamespace(wxyz=np.array([1.0, 0, 0, 0]), position=np.zeros(3), fov=1.0, aspect=1.5)
    client = SimpleNamespace(client_id=0, camera=camera, scene=scene)
    deadline = time.perf_counter() + 4 * _REST
    while time.perf_counter() < deadline:
        page._update_image(client)
    whole = max(sizes)
    assert min(sizes) < whole and sizes[-1] == whole, sizes  # half size while the camera moved
    assert f"frames/s at {whole[1]} × {whole[0]}<" in page.controls._note.content
