"""Grids and charts: pictures land where they belong, lines where their values are."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from ff_jax.export import figures, image_bytes, svg
from ff_jax.export.records import Curve, Panel, Series, curves_of_metrics, metric_against_shift


def flat(colour, height=20, width=30):
    return np.broadcast_to(np.array(colour, np.float32), (height, width, 3))


def test_eight_bit_rounding_clips_and_keeps_bytes(tmp_path):
    picture = np.array([[[-1, 0.5, 2], [np.nan, 1 / 255, 0.998]]], np.float32)
    np.testing.assert_array_equal(image_bytes.to_uint8(picture), [[[0, 128, 255], [0, 1, 254]]])
    raw = np.random.default_rng().integers(0, 256, (4, 5, 3)).astype(np.uint8)
    image_bytes.save_png(tmp_path / "a" / "b.png", raw)
    np.testing.assert_array_equal(Image.open(tmp_path / "a" / "b.png"), raw)
    with pytest.raises(ValueError, match="int64"):
        image_bytes.to_uint8(raw.astype(int))


def test_heat_rises_in_brightness_and_clips():
    brightness = image_bytes.heat(np.array([[-1.0, 0, 0.5, 1, 2, 9]], np.float32), 2)[0].sum(-1).astype(int)
    assert brightness[0] == brightness[1] and brightness[4] == brightness[5]
    assert (np.diff(brightness[1:5]) > 0).all()


def test_large_pictures_become_jpeg_in_pages():
    assert image_bytes.data_address(flat((1, 0, 0))).startswith("data:image/png;base64,")
    assert image_bytes.data_address(flat((1, 0, 0), 800, 800)).startswith("data:image/jpeg;base64,")


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
    labelled = figures.contact_sheet([[red]], ["column"], ["row"])
    assert labelled.shape[0] > plain.shape[0] and labelled.shape[1] > plain.shape[1]
    assert (labelled.min(-1) < 100).sum() > red.shape[0] * red.shape[1] + 20
    with pytest.raises(ValueError, match="1 columns and 1 rows"):
        figures.contact_sheet([[red]], ["a", "b"])
    with pytest.raises(ValueError, match="at least one picture"):
        figures.contact_sheet([[None]])


def test_panels_share_one_scale_and_leave_out_what_nobody_has():
    rng = np.random.default_rng()
    eig = rng.random((20, 30), np.float32)
    red = flat((1, 0, 0))
    with_eig = figures.panel_sheet([Panel(1, red, red, eig=eig), Panel(2, red, red)])
    without = figures.panel_sheet([Panel(1, red, red), Panel(2, red, red)])
    alone = figures.panel_sheet([Panel(1, red)], ("Reconstruction only",))
    assert with_eig.shape[1] - without.shape[1] == 36
    assert without.shape[1] - alone.shape[1] == 36
    assert figures.eig_scale([eig, None]) == pytest.approx(np.percentile(eig, 99))
    assert figures.eig_scale([]) == 1.0
    assert figures.before_after(red, red).shape[1] == 2 * 36 + 6


def test_drawn_curves_show_every_line():
    lines = [Series("a", [0, 1], [1, 2]), Series("b", [0, 1], [3, 4], [2.5, 3.5], [3.5, 4.5])]
    picture = figures.draw_curves([Curve("one", "x", lines), Curve("two", "x", lines, log=True)])
    assert picture.shape == (320, 960, 3)
    for colour in ((0x8A, 0x8F, 0x98), (0x1F, 0x6F, 0xEB)):
        for half in (picture[:, :480], picture[:, 480:]):
            assert (abs(half.astype(int) - colour).max(-1) < 3).sum() > 100
    with pytest.raises(ValueError, match="no curves"):
        figures.draw_curves([])


def numbers(element, name):
    return np.array([[float(n) for n in p.split(",")] for p in element.get(name).split()])


def test_svg_line_is_an_affine_image_of_its_values():
    rng = np.random.default_rng()
    x, y = np.sort(rng.random(8)), rng.normal(size=8)
    root = ElementTree.fromstring(svg.line_chart(Curve("t & t", "x", [Series("a", x.tolist(), y.tolist())])))
    (line,) = root.findall("polyline")
    points = numbers(line, "points")
    for values, places, sign in ((x, points[:, 0], 1), (y, points[:, 1], -1)):
        slope, offset = np.polyfit(values, places, 1)
        assert np.sign(slope) == sign
        np.testing.assert_allclose(slope * values + offset, places, atol=0.2)
    hint = root.find("circle/title").text
    assert hint == f"a: {y[0]:.4g} at {x[0]:g}"


def test_svg_ticks_agree_with_the_line():
    curve = Curve("t", "x", [Series("a", [0, 1, 2], [0.01, 1.0, 100.0])], log=True)
    root = ElementTree.fromstring(svg.line_chart(curve))
    heights = dict(zip((0.01, 1.0, 100.0), numbers(root.find("polyline"), "points")[:, 1], strict=True))
    labels = {float(t.text): float(t.get("y")) - 4 for t in root.findall("text") if t.get("text-anchor") == "end"}
    assert len(labels) >= 3
    for value, height in heights.items():
        assert labels[value] == pytest.approx(height, abs=0.11)


def test_svg_survives_odd_lines_and_stays_small():
    long = Series("long", list(range(5000)), np.random.default_rng().random(5000).tolist())
    odd = [Series("nan", [0, 1], [np.nan, np.inf]), Series("one", [3], [2.0]), Series("none", [], [])]
    text = svg.line_chart(Curve("t", "x", [long, *odd], log=False))
    assert len(numbers(ElementTree.fromstring(text).find("polyline"), "points")) <= svg.MAX_POINTS
    for series in odd:
        text = svg.line_chart(Curve("t", "x", [series]))
        assert not re.search("nan|inf", text.replace(f"{series.name}:", ""))
        ElementTree.fromstring(text)


def test_spread_is_one_standard_deviation():
    curve = metric_against_shift("PSNR, dB", {"a": {2: [1.0, 3.0], 0: [4.0, 4.0]}, "b": {0: [1.0]}})
    first, second = curve.series
    assert (list(first.x), list(first.y), list(first.low), list(first.high)) == (
        [0, 2],
        [4, 2],
        [4, 1],
        [4, 3],
    )
    assert second.low is None


def test_curves_of_a_log_skip_what_was_not_logged():
    records = [
        {"step": 0, "loss": 2.0},
        {"step": 5, "loss": float("nan"), "psnr": 20.0},
        {"step": 9, "loss": 1.0},
    ]
    loss, psnr = curves_of_metrics(records, {"loss": "Loss", "psnr": "PSNR, dB", "depth": "Depth"})
    assert (loss.series[0].x, loss.series[0].y, loss.log) == ((0, 9), (2.0, 1.0), True)
    assert psnr.title == "PSNR, dB" and not psnr.log
