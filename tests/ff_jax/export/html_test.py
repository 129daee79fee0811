"""The results page: whole, self-contained, and with the right numbers."""

import base64
import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from ff_jax.export import html
from ff_jax.export.records import Curve, MetricsRow, Panel, Report, Series, shift_name
from tests.random_inputs import seeded_rng

CHROMIUM = Path("/usr/bin/chromium")
VOID = {"meta", "img", "input", "br", "hr", "link"}


class Page(HTMLParser):
    """Collects tags, addresses and visible text; fails on tags that do not match."""

    def __init__(self, source):
        super().__init__()
        self.stack, self.tags, self.addresses, self.words = [], [], [], []
        self.feed(source)
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.addresses += [value for name, value in attrs if name in ("src", "href", "poster")]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] not in ("style", "script"):
            self.words.append(data.strip())

    @property
    def text(self):
        return " ".join(word for word in self.words if word)


@pytest.fixture
def report(tmp_path):
    rng = seeded_rng()
    pictures = [rng.random((6, 9, 3), np.float32) for _ in range(3)]
    panels = [
        Panel(3, *pictures, eig=rng.random((6, 9), np.float32), caption="frame 4"),
        Panel(-1.5, pictures[0], pictures[1]),
    ]
    rows = [
        MetricsRow(3.0, {"PSNR": 18.0, "LPIPS": 0.4}, {"PSNR": 20.5, "LPIPS": 0.3}),
        MetricsRow(0.0, {"PSNR": 28.0, "LPIPS": 0.1}, {"PSNR": 27.75, "LPIPS": 0.1, "SSIM": 0.9}),
    ]
    curves = [Curve("Loss <L1>", "step", [Series("loss", [0, 10, 20], [1.0, 0.1, np.nan])], is_log=True)]
    facts = {"revision": "abc", "config": {"steps": 30, "model": {"width": 8}}}
    (tmp_path / "v.mp4").write_bytes(b"video")
    return Report("Street & <scene>", "One sentence.", facts, rows, panels, curves, tmp_path / "v.mp4")


def render(tmp_path, report):
    html.write_page(tmp_path / "out" / "page.html", report)
    return (tmp_path / "out" / "page.html").read_text()


def test_page_needs_no_network_and_no_other_file(tmp_path, report):
    source = render(tmp_path, report)
    page = Page(source)
    addresses = [a for a in page.addresses if a and not a.startswith("#")]
    assert len(addresses) == 7 and all(a.startswith("data:") for a in addresses)
    assert not re.search(r"https?://|@import|url\(", source)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["page.html"]
    video = next(a for a in addresses if a.startswith("data:video/mp4;base64,"))
    assert base64.b64decode(video.split(",")[1]) == b"video"


def test_the_page_links_the_scene_where_there_is_one(tmp_path, report):
    assert "scene.html" in Page(render(tmp_path, dataclasses.replace(report, scene_page="scene.html"))).addresses
    assert "The scene in 3D" not in render(tmp_path, report)


def test_numbers_signs_and_tones(tmp_path, report):
    page = Page(render(tmp_path, report))
    assert "Street & <scene>" in page.text and "Loss <L1>" in page.text
    assert "recorded path 28.00 27.75 −0.25 3 m left 18.00 20.50 +2.50 mean 23.00 24.12 +1.12" in page.text
    assert "recorded path 0.100 0.100 0.000 3 m left 0.400 0.300 −0.100 mean 0.250 0.200 −0.050" in page.text
    assert "recorded path – 0.900 3 m left – – mean – –" in page.text
    assert "config.model.width 8" in page.text
    cells = [a["class"] for tag, a in page.tags if tag == "td" and "delta" in a.get("class", "")]
    tones = [c.replace("delta", "").strip() for c in cells]
    assert tones == ["bad", "good", "good", "", "good", "good", "", "", ""]


def test_a_growing_depth_error_is_bad(tmp_path):
    before = {"PSNR": 20.0, "EIG": 0.7, "LiDAR median, m": 0.2, "depth MAE [m]": 1.0, "warp": 0.01}
    after = {name: value + 0.051 for name, value in before.items()}
    report = Report("Depth", rows=[MetricsRow(3.0, before, after)])
    page = Page(render(tmp_path, report))
    cells = [a["class"] for tag, a in page.tags if tag == "td" and "delta" in a.get("class", "")]
    assert cells == ["delta good", "delta bad", "delta bad", "delta bad", "delta bad"]
    assert "What changed, 3 m left" in page.text
    assert page.text.index("Better:") < page.text.index("Worse:") < page.text.index("LiDAR median, m 0.200")


def test_the_page_says_where_the_last_version_is_uncertain(tmp_path):
    view, eig = np.zeros((4, 5, 3), np.float32), np.ones((4, 5), np.float32)
    after = np.where(np.arange(20).reshape(4, 5) < 5, 0.5, 0.1)
    panels = [Panel(2, view, view, eig=eig, eig_after=after), Panel(0, view, view, eig=0 * eig)]
    page = Page(render(tmp_path, Report("Uncertain", panels=panels, tau=0.4)))
    assert "0% recorded path" in page.text and "25% 2 m left" in page.text
    names = [a["data-name"] for tag, a in page.tags if tag == "img" and "data-name" in a]
    assert names == ["Reconstruction only", "Fused", "EIG", "Reconstruction only", "Fused", "EIG before", "EIG after"]


def test_every_version_of_every_view_is_there_once(tmp_path, report):
    page = Page(render(tmp_path, report))
    names = [a["alt"] for tag, a in page.tags if tag == "img" and "data-name" in a]
    first = ["Reconstruction only, 1.5 m right", "Fused, 1.5 m right"]
    second = [f"{n}, 3 m left" for n in ("Reconstruction only", "Fused", "Ground truth", "EIG")]
    assert names == first + second
    assert "frame 4" in page.text and "nats" in page.text


def test_page_of_a_single_version_compares_nothing(tmp_path):
    view = seeded_rng().random((6, 9, 3), np.float32)
    rows = [MetricsRow(3.0, {"PSNR": 18.0}, {}), MetricsRow(0.0, {"PSNR": 28.0}, {})]
    report = Report("Alone", rows=rows, panels=[Panel(3, view, truth=view)], names=("Reconstruction only",))
    page = Page(render(tmp_path, report))
    assert "Views" in page.text and not re.search(r"Fused|Before and after|Change", page.text)
    assert "3 m left 18.00" in page.text and "\N{EN DASH}" not in page.text
    names = [a["data-name"] for tag, a in page.tags if tag == "img" and "data-name" in a]
    assert names == ["Reconstruction only", "Ground truth"]


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"no browser: {CHROMIUM} is missing (apt-get install chromium)")
def test_nothing_is_cut_off_on_wide_and_narrow_screens(tmp_path, report):
    api = pytest.importorskip("playwright.sync_api", reason="the browser tests need the package playwright")
    names = ("PSNR", "PSNR moving", "SSIM", "EIG", "LiDAR median, m", "LiDAR mean, m", "LiDAR relative")
    values = dict.fromkeys(names, 23.456)
    rows = [MetricsRow(shift, values, values) for shift in (-2.0, 0.0, 1.0, 2.0, 3.0, 4.0)]
    render(tmp_path, dataclasses.replace(report, rows=rows, tau=0.4))
    wider = "[...document.querySelectorAll('table, .card')].filter(e => e.getBoundingClientRect().right > innerWidth"
    wider += " || e.scrollWidth > e.clientWidth + 1).length"
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        for width in (1280, 390):
            page = browser.new_page(viewport={"width": width, "height": 800})
            page.goto((tmp_path / "out" / "page.html").as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.evaluate(wider) == 0
        browser.close()


def test_empty_report_is_a_page_without_sections(tmp_path):
    page = Page(render(tmp_path, Report("Nothing yet")))
    assert page.text == "Nothing yet Nothing yet" and "h2" not in {tag for tag, _ in page.tags}


def test_large_video_is_linked_and_missing_video_is_said(tmp_path, report, monkeypatch):
    monkeypatch.setattr(html, "VIDEO_LIMIT", 3)
    assert "../v.mp4" in Page(render(tmp_path, report)).addresses
    (tmp_path / "v.mp4").unlink()
    with pytest.raises(FileNotFoundError, match=r"v\.mp4"):
        render(tmp_path, report)


def test_shifts_of_a_log_without_meters_are_in_units(tmp_path):
    view = np.zeros((4, 6, 3))
    panels = [Panel(3, view, view, eig=np.zeros((4, 6)))]
    rows = [MetricsRow(shift, {"PSNR": 20.0}, {"PSNR": 21.0}) for shift in (0.0, 3.0)]
    text = render(tmp_path, Report("Units", rows=rows, panels=panels, tau=0.4, unit="units"))
    assert "3 units left" in text and "3 m left" not in text
    assert "lateral shift, units" in text and "lateral shift, m" not in text


def test_shift_names_follow_the_convention():
    assert [shift_name(s) for s in (2, -0.5, 0)] == ["2 m left", "0.5 m right", "recorded path"]
