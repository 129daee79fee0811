"""Tables, files and the page of a benchmark."""

import json
import math

import numpy as np
import pytest

from ff_jax.evaluation import report as publish
from ff_jax.export.records import Drawing, Panel
from ff_jax.metrics.confidence import Interval

NAN = math.nan


def plain(value):
    return Interval(value, NAN, NAN, 40)


RESULTS = {
    ("ours", 3.0): {"psnr": Interval(22.5, 22.0, 23.0, 5), "fid": plain(70.0), "warp": plain(0.01)},
    ("ours", -3.0): {"psnr": Interval(20.5, 20.0, 21.0, 5), "fid": plain(90.0), "nta": Interval(0.5, 0.4, 0.6, 5)},
    ("theirs", 3.0): {"psnr": plain(21.0)},
    ("theirs", -3.0): {"psnr": plain(NAN)},
}
COUNTS = {3.0: 5, -3.0: 5}


def test_tables_show_what_was_measured_and_nothing_else():
    main, strict = publish.tables_of(RESULTS, COUNTS)
    assert main.columns == ("version", "shift", "views", "PSNR^", "NTA-IoU^", "FID_")
    assert main.rows[0] == ("ours", "3 m right", "5", "20.50 ±0.50", "0.500 ±0.100", "90.0")
    assert main.rows[1] == ("theirs", "3 m right", "5", "–", "–", "–")
    assert strict.columns[-1] == "warp_" and len(strict.rows) == 4


def test_the_table_of_the_papers_averages_both_sides():
    table = publish.paper_table(RESULTS)
    assert table.columns == ("method", "NTA-IoU @3m^", "NTL-IoU @3m^", "FID @3m_")
    assert table.rows == [("ours", "0.500", "–", "80.0"), ("theirs", "–", "–", "–")]


@pytest.fixture
def written(tmp_path):
    picture = np.random.default_rng().random((8, 12, 3))
    panels = [Panel(3.0, picture, picture, picture, picture[..., 0], name) for name in ("front", "left")]
    extra = {"views": [{"psnr": np.float32(2), "bad": NAN}]}
    publish.write(
        tmp_path,
        "street",
        "a test",
        RESULTS,
        COUNTS,
        {"networks": {"lpips": "x"}},
        panels,
        [Drawing("cars <1>", picture)],
        extra,
    )
    return tmp_path


def test_files_are_whole_and_readable(written):
    metrics = json.loads((written / "metrics.json").read_text())
    assert metrics["results"][0]["fid"] == {"mean": 70.0, "low": None, "high": None, "count": 40}
    assert metrics["views"] == [{"psnr": 2.0, "bad": None}]
    assert "| ours | 3 m left | 5 | 22.50 ±0.50 |" in (written / "tables.md").read_text()
    assert r"22.50 $\pm$0.50" in (written / "tables.tex").read_text()


def test_page_holds_tables_and_drawings(written):
    page = (written / "index.html").read_text()
    assert "cars &lt;1&gt;" in page and "Drawn over the frames" in page
    assert "3 m left, front</button>" in page and "3 m left, left</button>" in page
    assert "Strict protocols" in page and "NTA-IoU @3m \u2191" in page and 'src="http' not in page
