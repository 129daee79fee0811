"""The page in headless Chromium: it loads, it responds, and every layer shows another image."""

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

from tests import programs
from tests.ff_jax.viewer import tiny_run
from tests.ff_jax.viewer.tiny_run import difference

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
GRAPHICS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SERVE = "import runpy, sys; from tests.ff_jax.viewer import tiny_run; tiny_run.make_run(sys.argv.pop());"
SERVE += "tiny_run.report_foreign_messages();"
SERVE += "runpy.run_module('experiments.view', run_name='__main__', alter_sys=True)"
TIMEOUT = 180  # seconds for one action; computing the posterior takes long on a busy machine
REST = 1.0  # seconds without a change after which an image is final: before, its size may be half


@pytest.fixture(scope="module")
def playwright():
    if not CHROMIUM.exists():
        pytest.skip(f"no browser: {CHROMIUM} is missing (apt-get install chromium)")
    pytest.importorskip("viser", reason="the viewer needs the package viser")
    return pytest.importorskip("playwright.sync_api", reason="the browser tests need the package playwright")


@pytest.fixture(scope="module")
def server(playwright, tmp_path_factory):
    """Serve a tiny run; yields its folder and the address of the page."""
    folder = tmp_path_factory.mktemp("run")
    arguments = [f"--run={folder}", "--port=0", "--width=48", str(folder)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAXTYPING_DISABLE": "1"}
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, *arguments], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    try:
        yield folder, wait_for(lambda: address(process, folder / "output"), "the server's address")
    finally:
        process.kill()
        process.wait()


def address(process, output: Path) -> str | None:
    assert process.poll() is None, output.read_text()[-3000:]
    match = re.search(r"serving .* on (http://\S+)", output.read_text())
    return match and match.group(1)


def wait_for(get, what: str, explain=lambda: ""):
    """Return the value of `get` once it is neither None nor False; fail after TIMEOUT, with the text of `explain`."""
    deadline = time.time() + TIMEOUT
    while time.time() < deadline:
        value = get()
        if value is not None and value is not False:
            return value
        time.sleep(0.1)
    raise AssertionError(f"waited {TIMEOUT} s for {what}. {explain()}")


class BrowserUser:
    """Uses the page and observes it."""

    def __init__(self, page, folder: Path):
        self.page, self.folder = page, folder

    def note(self) -> str:
        return self.page.inner_text("body")

    def wait(self, get, what: str):
        """Wait for something on the page; a failure includes the texts of the page and of the server."""
        return wait_for(get, what, self.explain)

    def explain(self) -> str:
        self.page.screenshot(path=self.folder / "failed.png")
        output = (self.folder / "output").read_text()[-2000:]
        return f"Page ({self.folder / 'failed.png'}): {self.note()!r}. Server: {output!r}."

    def is_whole(self) -> bool:
        """Return whether the last image has its full size, according to the page."""
        return bool(re.search(r"frames/s at [0-9]+ × [0-9]+\b(?!, half)", self.note()))

    def image(self) -> np.ndarray:
        """Take a screenshot of the area beside the controls and below the notices."""
        clip = {"x": 0, "y": 180, "width": 580, "height": 380}
        return np.asarray(Image.open(io.BytesIO(self.page.screenshot(clip=clip))).convert("RGB"))

    def final_image(self) -> np.ndarray:
        """Wait until the image is whole and no longer changes; return it."""
        return self.wait(self._unchanged_image, "an image that no longer changes")

    def _unchanged_image(self) -> np.ndarray | None:
        first, deadline = self.image(), time.time() + REST
        while time.time() < deadline:
            if not self.is_whole() or first.std() == 0 or difference(first, self.image()) > 0:
                return None
            time.sleep(0.1)
        return first

    def wait_for_change(self, before: np.ndarray, what: str, least: float = 1.0) -> np.ndarray:
        """Wait until the image differs from an earlier one and no longer changes; return it."""
        self.wait(lambda: difference(self.image(), before) > least, f"another image after {what}")
        return self.final_image()

    def wait_for_image(self, other: np.ndarray, what: str, most: float = 1.0) -> None:
        """Wait until the image is an earlier one again."""
        self.wait(lambda: difference(self.image(), other) < most, f"the earlier image after {what}")

    def row(self, label: str):
        text = self.page.get_by_text(label, exact=True)
        return text.locator("xpath=ancestor::div[contains(@class, 'Flex-root')][1]")

    def select(self, label: str, value: str) -> None:
        self.page.get_by_label(label, exact=True).first.click()
        self.page.get_by_role("option", name=value, exact=True).click()

    def enter(self, label: str, value: float) -> None:
        field = self.row(label).locator("input[type=text]")
        field.fill(str(value))
        field.press("Enter")


@pytest.fixture(scope="module")
def user(playwright, server):
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=[*QUIET, *GRAPHICS])
        page = browser.new_page(viewport={"width": 960, "height": 640}, accept_downloads=True)
        page.set_default_timeout(TIMEOUT * 1000)
        page.goto(server[1])
        page.wait_for_selector("canvas")
        user = BrowserUser(page, server[0])
        user.home = user.final_image()
        yield user
        browser.close()


@pytest.fixture
def start(user):
    """The image of the fused scene at the start of the path; every test restores it."""
    user.wait_for_image(user.home, "the test before")
    return user.home


@pytest.mark.browser
def test_the_image_changes_with_the_camera(user, start):
    assert start.std() > 5
    user.enter("Left, m", 3)
    shifted = user.wait_for_change(start, "a lane shift")
    mouse = user.page.mouse
    mouse.move(300, 400)
    mouse.down()
    mouse.move(260, 390, steps=3)
    mouse.up()
    user.wait_for_change(shifted, "a drag")
    user.enter("Left, m", 0)  # the slider moves the camera back to the path
    user.wait_for_image(start, "the way back to the path")


@pytest.mark.browser
def test_every_layer_shows_another_image(user, start):
    images = {"RGB": start}
    for layer in ("Depth", "Alpha", "EIG", "UCR mask", "RGB"):
        user.select("Layer", layer)
        images[layer] = user.wait_for_change(list(images.values())[-1], f"selecting {layer}")
        unit = {"Depth": "Meters at end", "EIG": "Nats at end", "UCR mask": "Threshold"}.get(layer)
        assert unit is None or user.page.get_by_text(unit, exact=True).is_visible()
    names = list(images)
    for first in range(len(names)):
        for second in range(first):
            assert difference(images[names[first]], images[names[second]]) > 1, (names[first], names[second])
    assert difference(images["RGB"], start) < 1


@pytest.mark.browser
def test_actors_and_versions(user, start):
    before = user.final_image()  # after the last test it may differ from the start by up to one level
    box = user.row("vehicle 7").locator("input[type=checkbox]")
    box.click()
    user.wait_for_change(before, "hiding a vehicle", 0.1)
    box.click()
    user.wait_for_image(before, "showing it again", 0.1)
    user.select("Scene", "Before | after")
    both = user.wait_for_change(start, "comparing")
    user.enter("Split", 1)  # only the reconstruction
    user.wait_for_change(both, "moving the split")
    user.enter("Split", 0)
    user.wait_for_image(start, "moving the split away")
    user.select("Scene", "Fused")
    user.wait_for_image(start, "selecting the fused scene")


@pytest.mark.browser
def test_images_and_videos_are_saved(user, start, tmp_path):
    def download(button: str) -> Path:
        with user.page.expect_download() as waiting:
            user.page.get_by_role("button", name=button).click()
        waiting.value.save_as(tmp_path / waiting.value.suggested_filename)
        return tmp_path / waiting.value.suggested_filename

    user.enter("Frames", 3)
    assert Image.open(download("Screenshot (PNG)")).size == (48, 32)
    video = download("Record the path (MP4)")
    assert video.suffix == ".mp4" and video.read_bytes()[4:8] == b"ftyp"


@pytest.mark.browser
def test_newer_checkpoints_appear(user, server, start):
    assert "Fused: step 60" in user.note() and "training, 100 in all" in user.note()
    folder, _ = server
    os.replace(folder / "later" / "checkpoints" / "80", folder / "fused" / "checkpoints" / "80")
    user.wait_for_change(start, "a newer checkpoint")
    user.wait(lambda: "Fused: step 80" in user.note(), "a note of the newer checkpoint")


@pytest.mark.browser
def test_clients_get_their_messages_from_the_server_s_thread(user, server):
    """Runs last: covers the messages of all tests before (why: `viewer.page`)."""
    assert "serving" in (output := (server[0] / "output").read_text()) and "foreign" not in output, output[-2000:]


def test_the_rate_of_every_layer_is_printed_without_a_browser(tmp_path):
    tiny_run.make_run(str(tmp_path))
    result = programs.run("experiments.view", f"--run={tmp_path}", "--frames=2", "--width=48")
    assert result.returncode == 0, result.stderr[-2000:]
    rates = re.findall(r"^ *(RGB|Depth|Alpha|EIG|UCR mask) +([0-9.]+) frames/s$", result.stdout, re.M)
    assert [name for name, _ in rates] == ["RGB", "Depth", "Alpha", "EIG", "UCR mask"]
    assert all(float(rate) > 0 for _, rate in rates)
