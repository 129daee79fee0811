"""The page in headless Chromium, as a user sees it: it loads, it answers, every layer shows something else."""

import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.ff_jax.viewer.tiny_run import differ

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
GRAPHICS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SERVE = "import runpy, sys; from tests.ff_jax.viewer import tiny_run; tiny_run.make_run(sys.argv.pop());"
SERVE += "tiny_run.report_strangers();"
SERVE += "runpy.run_module('experiments.view', run_name='__main__', alter_sys=True)"
PATIENCE = 180  # seconds that any one thing may take; on a busy machine learning takes long
REST = 1.0  # seconds without a change until a picture counts as the last one: pictures are half as large before it


@pytest.fixture(scope="module")
def playwright():
    if not CHROMIUM.exists():
        pytest.skip(f"no browser: {CHROMIUM} is missing (apt-get install chromium)")
    pytest.importorskip("viser", reason="the viewer needs the package viser")
    return pytest.importorskip("playwright.sync_api", reason="no way to drive a browser: install playwright")


@pytest.fixture(scope="module")
def server(playwright, tmp_path_factory):
    """Serve a tiny run; yields its folder and the address of the page."""
    folder = tmp_path_factory.mktemp("run")
    arguments = [f"--run={folder}", "--port=0", "--width=48", str(folder)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAXTYPING_DISABLE": "1"}
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, *arguments], cwd=ROOT, env=environment, stdout=said, stderr=said
        )
    try:
        yield folder, wait_for(lambda: address(process, folder / "said"), "the server's address")
    finally:
        process.kill()
        process.wait()


def address(process, said: Path) -> str | None:
    assert process.poll() is None, said.read_text()[-3000:]
    found = re.search(r"serving .* on (http://\S+)", said.read_text())
    return found and found.group(1)


def wait_for(get, what: str, explain=lambda: ""):
    """Return what `get` gives once that is neither None nor False; fail after PATIENCE, with what `explain` says."""
    deadline = time.time() + PATIENCE
    while time.time() < deadline:
        value = get()
        if value is not None and value is not False:
            return value
        time.sleep(0.1)
    raise AssertionError(f"waited {PATIENCE} s for {what}. {explain()}")


class Visitor:
    """What a user does on the page, and what of it can be seen."""

    def __init__(self, page, folder: Path):
        self.page, self.folder = page, folder

    def note(self) -> str:
        return self.page.inner_text("body")

    def wait(self, get, what: str):
        """Wait for something on the page; what the page and the server show is part of the failure."""
        return wait_for(get, what, self.explain)

    def explain(self) -> str:
        self.page.screenshot(path=self.folder / "failed.png")
        said = (self.folder / "said").read_text()[-2000:]
        return f"The page ({self.folder / 'failed.png'}) says: {self.note()!r}. The server said: {said!r}."

    def whole(self) -> bool:
        """Return whether the page says that the last picture has its full size."""
        return bool(re.search(r"frames/s at [0-9]+ × [0-9]+\b(?!, half)", self.note()))

    def picture(self) -> np.ndarray:
        """Return what shows beside the controls and below the notices."""
        clip = {"x": 0, "y": 180, "width": 580, "height": 380}
        return np.asarray(Image.open(io.BytesIO(self.page.screenshot(clip=clip))).convert("RGB"))

    def rest(self) -> np.ndarray:
        """Wait until the picture is whole and stands still; return it."""
        return self.wait(self._still, "a picture that stands still")

    def _still(self) -> np.ndarray | None:
        first, deadline = self.picture(), time.time() + REST
        while time.time() < deadline:
            if not self.whole() or first.std() == 0 or differ(first, self.picture()) > 0:
                return None
            time.sleep(0.1)
        return first

    def change(self, before: np.ndarray, what: str, least: float = 1.0) -> np.ndarray:
        """Wait until the picture differs from an earlier one, and stands still; return it."""
        self.wait(lambda: differ(self.picture(), before) > least, f"another picture after {what}")
        return self.rest()

    def same(self, other: np.ndarray, what: str, most: float = 1.0) -> None:
        """Wait until the picture is an earlier one again."""
        self.wait(lambda: differ(self.picture(), other) < most, f"the earlier picture after {what}")

    def row(self, label: str):
        text = self.page.get_by_text(label, exact=True)
        return text.locator("xpath=ancestor::div[contains(@class, 'Flex-root')][1]")

    def choose(self, label: str, value: str) -> None:
        self.page.get_by_label(label, exact=True).first.click()
        self.page.get_by_role("option", name=value, exact=True).click()

    def enter(self, label: str, value: float) -> None:
        field = self.row(label).locator("input[type=text]")
        field.fill(str(value))
        field.press("Enter")


@pytest.fixture(scope="module")
def visitor(playwright, server):
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=[*QUIET, *GRAPHICS])
        page = browser.new_page(viewport={"width": 960, "height": 640}, accept_downloads=True)
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(server[1])
        page.wait_for_selector("canvas")
        visitor = Visitor(page, server[0])
        visitor.home = visitor.rest()
        yield visitor
        browser.close()


@pytest.fixture
def start(visitor):
    """The picture of the fused scene at the start of the path, which every test leaves as it found it."""
    visitor.same(visitor.home, "the test before")
    return visitor.home


@pytest.mark.browser
def test_the_picture_changes_with_the_camera(visitor, start):
    assert start.std() > 5
    visitor.enter("Left, m", 3)
    shifted = visitor.change(start, "a lane shift")
    mouse = visitor.page.mouse
    mouse.move(300, 400)
    mouse.down()
    mouse.move(260, 390, steps=3)
    mouse.up()
    visitor.change(shifted, "a drag")
    visitor.enter("Left, m", 0)  # the slider carries the camera back to the path
    visitor.same(start, "the way back to the path")


@pytest.mark.browser
def test_every_layer_shows_something_else(visitor, start):
    seen = {"RGB": start}
    for layer in ("Depth", "Alpha", "EIG", "UCR mask", "RGB"):
        visitor.choose("Layer", layer)
        seen[layer] = visitor.change(list(seen.values())[-1], f"choosing {layer}")
        unit = {"Depth": "Metres at end", "EIG": "Nats at end", "UCR mask": "Threshold"}.get(layer)
        assert unit is None or visitor.page.get_by_text(unit, exact=True).is_visible()
    names = list(seen)
    for first in range(len(names)):
        for second in range(first):
            assert differ(seen[names[first]], seen[names[second]]) > 1, (names[first], names[second])
    assert differ(seen["RGB"], start) < 1


@pytest.mark.browser
def test_actors_and_versions(visitor, start):
    shown = visitor.rest()  # the test before may have left up to a whole level of difference to the start
    box = visitor.row("vehicle 7").locator("input[type=checkbox]")
    box.click()
    visitor.change(shown, "hiding a vehicle", 0.1)
    box.click()
    visitor.same(shown, "showing it again", 0.1)
    visitor.choose("Scene", "Before | after")
    both = visitor.change(start, "comparing")
    visitor.enter("Split", 1)  # all of it is from before
    visitor.change(both, "moving the split")
    visitor.enter("Split", 0)
    visitor.same(start, "moving the split away")
    visitor.choose("Scene", "Fused")
    visitor.same(start, "choosing the fused scene")


@pytest.mark.browser
def test_pictures_and_films_are_saved(visitor, start, tmp_path):
    def saved(button: str) -> Path:
        with visitor.page.expect_download() as waiting:
            visitor.page.get_by_role("button", name=button).click()
        waiting.value.save_as(tmp_path / waiting.value.suggested_filename)
        return tmp_path / waiting.value.suggested_filename

    visitor.enter("Frames", 3)
    assert Image.open(saved("Screenshot (PNG)")).size == (48, 32)
    film = saved("Record the path (MP4)")
    assert film.suffix == ".mp4" and film.read_bytes()[4:8] == b"ftyp"


@pytest.mark.browser
def test_newer_checkpoints_appear(visitor, server, start):
    assert "Fused: step 60" in visitor.note() and "training, 100 in all" in visitor.note()
    folder, _ = server
    os.replace(folder / "later" / "checkpoints" / "80", folder / "fused" / "checkpoints" / "80")
    visitor.change(start, "a newer checkpoint")
    visitor.wait(lambda: "Fused: step 80" in visitor.note(), "a note of the newer checkpoint")


@pytest.mark.browser
def test_visitors_get_their_messages_from_the_server_s_thread(visitor, server):
    """Runs last: whatever the tests before have done was done there, or a message may wake nobody."""
    assert "serving" in (said := (server[0] / "said").read_text()) and "stranger" not in said, said[-2000:]


def test_the_rate_of_every_layer_is_printed_without_a_browser(tmp_path):
    arguments = [f"--run={tmp_path}", "--frames=2", "--width=48", str(tmp_path)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAXTYPING_DISABLE": "1"}
    command = [sys.executable, "-c", SERVE, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-2000:]
    rates = re.findall(r"^ *(RGB|Depth|Alpha|EIG|UCR mask) +([0-9.]+) frames/s$", done.stdout, re.M)
    assert [name for name, _ in rates] == ["RGB", "Depth", "Alpha", "EIG", "UCR mask"]
    assert all(float(rate) > 0 for _, rate in rates)
