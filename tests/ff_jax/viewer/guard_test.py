"""Hostile clients of the viewer: real connections with any values, beside a good one that keeps getting pictures."""

import math
from types import SimpleNamespace

import pytest

from experiments.studies.measures.robustness.outcomes import BAD
from experiments.studies.measures.robustness.viewer_clients import CAMERA, results, serve
from ff_jax.viewer import Session
from ff_jax.viewer.guard import is_known_origin, is_valid
from tests.ff_jax.viewer.tiny_run import make_log, make_reader, write

pytestmark = pytest.mark.slow

for package in ("viser", "msgspec", "websockets"):
    pytest.importorskip(package, reason="the viewer needs the package viser")


def test_a_good_client_keeps_getting_pictures_beside_hostile_ones(tmp_path, capsys):
    reader, state, capacity = make_reader(tmp_path, make_log(tmp_path))
    write(tmp_path, "fused", 60, state, capacity)
    with serve(Session(reader)) as viewer:
        found = list(results(viewer, 500))
        controls = viewer.page.controls
        assert controls.num_frames.value <= controls.num_frames.max
    assert len(found) > 510 and not [result for result in found if result.kind in BAD]
    capsys.readouterr()


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
