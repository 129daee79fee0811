"""Grids and charts: pictures land where they belong, lines where their values are."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from ff_jax.export import figures, image_bytes
from ff_jax.export.colormaps import heatmap
from ff_jax.export.records import Curve, Panel, Series, metric_curves
from tests.random_inputs import seeded_rng


def flat(color, height=20, width=30):
    return np.broadcast_to(np.array(color, np.float32), (height, width, 3))


def test_eight_bit_rounding_clips_and_keeps_bytes(tmp_path):
    picture = np.array([[[-1, 0.5, 2], [np.nan, 1 / 255, 0.998]]], np.float32)
    np.testing.assert_array_equal(image_bytes.to_uint8(picture), [[[0, 128, 255], [0, 1, 254]]])
    raw = seeded_rng().integers(0, 256, (4, 5, 3)).astype(np.uint8)
    image_bytes.save_png(tmp_path / "a" / "b.png", raw)
    np.testing.assert_array_equal(Image.open(tmp_path / "a" / "b.png"), raw)
    with pytest.raises(ValueError, match="int64"):
        image_bytes.to_uint8(raw.astype(int))


def test_heat_rises_in_brightness_and_clips():
    brightness = heatmap(np.array([[-1.0, 0, 0.5, 1, 2, 9]], np.float32), 2)[0].sum(-1).astype(int)
    assert brightness[0] == brightness[1] and brightness[4] == brightness[5]
    assert (np.diff(brightness[1:5]) > 0).all()


def test_large_pictures_become_jpeg_in_pages():
    assert image_bytes.data_url(flat((1, 0, 0))).startswith("data:image/png;base64,")
    assert image_bytes.data_url(flat((1, 0, 0), 800, 800)).startswith("data:image/jpeg;base64,")


def test_contact_sheet_places_every_picture():
    red, green, blue = (flat(c) for c in np.eye(3))
    sheet = figures.contact_sheet([[red, green], [None, blue]], gap=4)
    assert sheet.shape == (4 + 2 * 24, 4 + 2 * 34, 3)
    np.testing.assert_array_equal(sheet[4:24, 4:34], 255 * red)
    np.testing.assert_array_equal(sheet[4:24, 38:68], 255 * green)
    np.testing.assert_array_equal(sheet[28:48, 38:68], 255 * blue)
    assert (sheet[28:48, 4:34] == 255).all()


def test_labels_take_room_and_must_fit():
    red = flat((1, 0, 0))
    plain = figures.contact_sheet([[red]])
    labeled = figures.contact_sheet([[red]], ["column"], ["row"])
    assert labeled.shape[0] > plain.shape[0] and labeled.shape[1] > plain.shape[1]
    assert (labeled.min(-1) < 100).sum() > red.shape[0] * red.shape[1] + 20
    with pytest.raises(ValueError, match="1 columns and 1 rows"):
        figures.contact_sheet([[red]], ["a", "b"])
    with pytest.raises(ValueError, match="at least one picture"):
        figures.contact_sheet([[None]])


def test_panels_share_one_scale_and_leave_out_what_nobody_has():
    rng = seeded_rng()
    eig = rng.random((20, 30), np.float32)
    red = flat((1, 0, 0))
    with_eig = figures.panel_sheet([Panel(1, red, red, eig=eig), Panel(2, red, red)])
    without = figures.panel_sheet([Panel(1, red, red), Panel(2, red, red)])
    alone = figures.panel_sheet([Panel(1, red)], ("Reconstruction only",))
    assert with_eig.shape[1] - without.shape[1] == 36
    assert without.shape[1] - alone.shape[1] == 36
    assert figures.eig_scale([eig, None]) == pytest.approx(np.percentile(eig, 99))
    assert figures.eig_scale([]) == 1.0


def test_drawn_curves_show_every_line():
    lines = [Series("a", [0, 1], [1, 2]), Series("b", [0, 1], [3, 4], [2.5, 3.5], [3.5, 4.5])]
    picture = figures.draw_curves([Curve("one", "x", lines), Curve("two", "x", lines, is_log=True)])
    assert picture.shape == (320, 960, 3)
    for color in ((0x8A, 0x8F, 0x98), (0x1F, 0x6F, 0xEB)):
        for half in (picture[:, :480], picture[:, 480:]):
            assert (abs(half.astype(int) - color).max(-1) < 3).sum() > 100
    with pytest.raises(ValueError, match="no curves"):
        figures.draw_curves([])


def chart(curve):
    """The chart, the group of its first line, and the points of that line."""
    root = ElementTree.fromstring(figures.svg_chart(curve))
    # The only paths without a fill that are no lines of the grid or axes.
    lines = [p for p in root.iter("path") if re.search(r"fill: none; stroke: var\(--s[1-9]\)", p.get("style", ""))]
    points = [np.array(re.findall(r"-?[\d.]+", line.get("d")), float).reshape(-1, 2) for line in lines]
    return root, points[0] if points else np.zeros((0, 2))


def test_svg_line_is_an_affine_image_of_its_values():
    rng = seeded_rng()
    x, y = np.sort(rng.random(8)), rng.normal(size=8)
    root, points = chart(Curve("t & t", "x", [Series("a", x.tolist(), y.tolist())]))
    for values, places, sign in ((x, points[:, 0], 1), (y, points[:, 1], -1)):
        slope, offset = np.polyfit(values, places, 1)
        assert np.sign(slope) == sign
        np.testing.assert_allclose(slope * values + offset, places, atol=0.2)
    hints = [title.text for title in root.iter("title")]
    assert hints == [f"a: {value:.4g} at {place:g}" for place, value in zip(x, y, strict=True)]


def test_svg_ticks_agree_with_the_line():
    root, points = chart(Curve("t", "x", [Series("a", [0, 1, 2], [0.01, 1.0, 100.0])], is_log=True))
    texts = [text for text in root.iter("text") if "text-anchor: end" in text.get("style", "")]
    labels = {float(text.text): float(text.get("y")) for text in texts}
    assert len(labels) >= 3
    offsets = [labels[value] - height for value, height in zip((0.01, 1.0, 100.0), points[:, 1], strict=True)]
    np.testing.assert_allclose(offsets, offsets[0], atol=0.11)
    assert 0 < offsets[0] < 5  # half the height of a digit


def test_svg_survives_odd_lines_and_stays_small():
    long = Series("long", list(range(5000)), seeded_rng().random(5000).tolist())
    odd = [Series("nan", [0, 1], [np.nan, np.inf]), Series("one", [3], [2.0]), Series("none", [], [])]
    text = figures.svg_chart(Curve("t", "x", [long, *odd], is_log=False))
    assert len(text) < 30_000 and not re.search(r"https?://|url\(|\bid=", text.replace('id="m', ""))
    assert len(chart(Curve("t", "x", [long]))[1]) <= figures.MAX_POINTS
    for series in odd:
        for is_log in (False, True):
            text = figures.svg_chart(Curve("t", "x", [series], is_log=is_log))
            assert not re.search("nan|inf", text.replace(f"{series.name}:", ""))
            ElementTree.fromstring(text)


def test_curves_of_a_log_skip_what_was_not_logged():
    records = [
        {"step": 0, "loss": 2.0},
        {"step": 5, "loss": float("nan"), "psnr": 20.0},
        {"step": 9, "loss": 1.0},
    ]
    loss, psnr = metric_curves(records, {"loss": "Loss", "psnr": "PSNR, dB", "depth": "Depth"})
    assert (loss.series[0].x, loss.series[0].y, loss.is_log) == ((0, 9), (2.0, 1.0), True)
    assert psnr.title == "PSNR, dB" and not psnr.is_log
