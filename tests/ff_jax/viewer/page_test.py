"""What a visitor ends up seeing when pictures come slowly; the visitor is made up, the server is viser's."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from ff_jax.viewer import Page, Session
from ff_jax.viewer.page import _REST
from tests.ff_jax.viewer.tiny_run import make_log, make_reader, write

viser = pytest.importorskip("viser", reason="the viewer needs the package viser")


@pytest.fixture
def page(tmp_path, monkeypatch):
    reader, run, capacity = make_reader(tmp_path, make_log(tmp_path))
    write(tmp_path, "fused", 60, run, capacity)
    session = Session(reader)

    def slow(look, view):
        time.sleep(0.1)
        return np.zeros((view.camera.height, view.camera.width, 3), np.uint8)

    monkeypatch.setattr(session, "picture", slow)
    server = viser.ViserServer("127.0.0.1", 0, verbose=False)
    yield Page(server, session, 48)
    server.stop()


def test_at_rest_the_picture_is_whole_although_half_of_it_was_compiled_after_it(page):
    shown = []
    scene = SimpleNamespace(set_background_image=lambda picture, **_: shown.append(picture.shape[:2]))
    camera = SimpleNamespace(wxyz=np.array([1.0, 0, 0, 0]), position=np.zeros(3), fov=1.0, aspect=1.5)
    visitor = SimpleNamespace(client_id=0, camera=camera, scene=scene)
    deadline = time.perf_counter() + 4 * _REST
    while time.perf_counter() < deadline:
        page._draw(visitor)
    whole = max(shown)
    assert min(shown) < whole and shown[-1] == whole, shown  # half of it was drawn while the visitor moved
    assert f"frames/s at {whole[1]} × {whole[0]}<" in page.controls._note.content
