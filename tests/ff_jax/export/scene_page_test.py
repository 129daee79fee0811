"""The page of a scene holds its Gaussians, needs no other file, and shows them in Chromium where a camera sees them."""

import base64
import dataclasses
import io
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ff_jax.export import scene_page
from ff_jax.export.formats import splat
from ff_jax.export.scene_page import FirstView, ScenePage
from ff_jax.render.gaussians import SH_C0, GaussianArrays
from tests.random_inputs import seeded_rng

CHROMIUM = Path("/usr/bin/chromium")
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
GRAPHICS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
TIMEOUT = 60  # seconds until an image is final, on a busy machine

WIDTH, HEIGHT, FOCAL = 120, 80, 100.0
RED, GREEN, BLUE, SKY = (0.9, 0.1, 0.1), (0.1, 0.8, 0.2), (0.1, 0.2, 0.9), (0.4, 0.6, 0.8)
GROUND = (0.5, 0.4, 0.2)
# The camera is at (5, 2, 1.5) and looks along -y of the world: its right is -x, its down -z.
POSE = np.array([[-1, 0, 0, 5], [0, 0, -1, 2], [0, -1, 0, 1.5], [0, 0, 0, 1]], float)
IN_CAMERA = np.array([[-2.0, -1.0, 8.0], [2.0, 1.0, 8.0], [0.0, 0.0, -5.0]])  # upper left, lower right, behind


@pytest.fixture
def page():
    means = IN_CAMERA @ POSE[:3, :3].T + POSE[:3, 3]
    gaussians = GaussianArrays(
        means=means.astype(np.float32),
        quats=np.tile(np.float32([0.5, 0.5, -0.5, 0.5]), (3, 1)),
        log_scales=np.log(np.full((3, 3), 0.3, np.float32)),
        logit_opacities=np.full(3, 8.0, np.float32),
        sh=((np.float32([RED, GREEN, BLUE]) - 0.5) / SH_C0)[:, None],
    )
    K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    view = FirstView("front <1>", 0.5, K, POSE, WIDTH, HEIGHT)
    eig = np.array([6.0, 1.5, 0.0])
    panorama = np.tile(np.repeat([[SKY], [GROUND]], 8, 0), (1, 4, 1))
    return ScenePage("Street & lane", "Fused", gaussians, eig, 3, "the nats of a test.", view, panorama)


def write(tmp_path, page) -> str:
    scene_page.write_scene_page(tmp_path / "scene.html", page)
    assert [path.name for path in tmp_path.iterdir()] == ["scene.html"]
    return (tmp_path / "scene.html").read_text()


def embedded(source: str, name: str) -> bytes:
    return base64.b64decode(re.search(rf'id="{name}">([^<]*)<', source)[1])


def test_page_needs_no_network_and_no_other_file(tmp_path, page):
    source = write(tmp_path, page)
    assert "gsplat 1.2.9" in source and "MIT License" in source
    viewer = (scene_page.VIEWER / "gsplat.min.js").read_text()
    assert viewer in source and "</script" not in viewer
    own = source.replace(viewer, "")
    assert not re.search(r"https?:|@import|url\(|src=|import\(|fetch\(", own)
    assert re.findall(r'href="([^"]*)"', own) == ["data:,"]
    assert "Street &amp; lane" in source and "front &lt;1&gt;" in source and "t = 0.5 s" in source


def test_embedded_data_decodes_to_the_scene(tmp_path, page):
    source = write(tmp_path, page)
    (tmp_path / "a.splat").write_bytes(embedded(source, "splats"))
    found = splat.read(tmp_path / "a.splat").gaussians
    np.testing.assert_array_equal(found.means, page.gaussians.means)
    np.testing.assert_allclose(found.log_scales, page.gaussians.log_scales, rtol=1e-6)
    np.testing.assert_allclose(0.5 + SH_C0 * found.sh[:, 0], [RED, GREEN, BLUE], atol=0.5 / 255)
    levels, table = (np.frombuffer(embedded(source, name), np.uint8) for name in ("levels", "table"))
    maximum = np.percentile(page.eig, 99)
    assert levels.tolist() == [255, 1 + round(254 * 1.5 / maximum), 0]
    np.testing.assert_array_equal(table.reshape(256, 3), scene_page.color_table())


def test_sizes_are_within_half_precision(tmp_path, page):
    huge = page.gaussians._replace(log_scales=np.log(np.full((3, 3), 1e4, np.float32)))
    source = write(tmp_path, dataclasses.replace(page, gaussians=huge))
    rows = np.frombuffer(embedded(source, "splats"), splat.ROW)
    assert np.isfinite(np.float16(4 * rows["scale"] ** 2)).all() and (rows["scale"] > 99).all()


def test_large_scenes_are_thinned_by_opacity_times_area(tmp_path, page):
    rng = seeded_rng()
    gaussians = GaussianArrays(
        rng.normal(size=(50, 3)),
        rng.normal(size=(50, 4)),
        rng.normal(size=(50, 3)),
        rng.normal(size=50),
        np.zeros((50, 1, 3)),
    )
    stds = np.sort(np.exp(gaussians.log_scales), axis=1)
    weight = stds[:, 1] * stds[:, 2] / (1 + np.exp(-gaussians.logit_opacities))
    assert scene_page.largest(gaussians, 12).tolist() == sorted(np.argsort(weight)[-12:])
    assert scene_page.largest(gaussians, 50).tolist() == list(range(50))
    assert "of 1,234,567" in write(tmp_path, dataclasses.replace(page, count=1_234_567))


def test_unseen_gaussians_and_actors_are_named_where_there_are_any(tmp_path, page):
    source = write(tmp_path, page)
    assert "seen in none of the images" in source and "actors" not in source
    source = write(tmp_path, dataclasses.replace(page, eig=page.eig + 1, has_actors=True))
    assert "seen in none of the images" not in source and "actors stand where they are" in source


def test_a_scene_without_gaussians_has_no_page(tmp_path, page):
    empty = GaussianArrays(*(values[:0] for values in page.gaussians))
    with pytest.raises(ValueError, match="no Gaussians"):
        scene_page.write_scene_page(tmp_path / "scene.html", dataclasses.replace(page, gaussians=empty))


def final_image(tab, colors: str) -> np.ndarray:
    """Wait until the canvas shows the colors and no longer changes; return its picture."""
    tab.wait_for_selector(f"canvas[data-shown={colors}]", timeout=TIMEOUT * 1000)
    return np.asarray(Image.open(io.BytesIO(tab.locator("canvas").screenshot())).convert("RGB")).astype(int)


def color_at(image: np.ndarray, point) -> np.ndarray:
    """Return the color where the camera sees a point of its own frame."""
    scale = image.shape[1] / WIDTH
    x, y = scale * (FOCAL * np.array(point[:2]) / point[2] + [WIDTH / 2, HEIGHT / 2])
    return image[round(y), round(x)]


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"no browser: {CHROMIUM} is missing (apt-get install chromium)")
def test_chromium_shows_the_gaussians_in_both_colorings(tmp_path, page):
    api = pytest.importorskip("playwright.sync_api", reason="the browser tests need the package playwright")
    write(tmp_path, page)
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=[*QUIET, *GRAPHICS])
        tab = browser.new_page(viewport={"width": 390, "height": 800})
        requests, errors = [], []
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto((tmp_path / "scene.html").as_uri())
        image = final_image(tab, "rgb")
        assert np.abs(color_at(image, IN_CAMERA[0]) - 255 * np.array(RED)).max() < 8
        assert np.abs(color_at(image, IN_CAMERA[1]) - 255 * np.array(GREEN)).max() < 8
        assert np.abs(color_at(image, (0, -0.3, 1)) - 255 * np.array(SKY)).max() < 3
        assert np.abs(color_at(image, (0, 0.3, 1)) - 255 * np.array(GROUND)).max() < 3
        tab.get_by_role("button", name="EIG").click()
        time.sleep(0.2)  # the page takes the new colors at its next frame
        eig = final_image(tab, "eig")
        table, levels = scene_page.color_table(), scene_page.eig_levels(page.eig, float(np.percentile(page.eig, 99)))
        for point, level in zip(IN_CAMERA[:2], levels[:2], strict=True):
            assert np.abs(color_at(eig, point) - table[level]).max() < 8
        assert color_at(eig, (0, 0, 1)).max() < 3 and tab.get_by_text("nats and more").is_visible()
        tab.get_by_role("button", name="Colors").click()
        tab.keyboard.press("d", delay=300)
        moved = final_image(tab, "rgb")
        assert np.abs(moved - image).max() > 100  # the camera moved to the right
        tab.get_by_role("button", name="First view").click()
        time.sleep(0.2)
        assert np.abs(final_image(tab, "rgb") - image).max() < 3
        for width in (1280, 390):
            tab.set_viewport_size({"width": width, "height": 800})
            assert tab.evaluate("document.documentElement.scrollWidth") == width
        browser.close()
    assert not errors and all(url.startswith(("file:", "data:", "blob:")) for url in requests)
