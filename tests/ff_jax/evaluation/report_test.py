"""Tables, files and page of a benchmark."""

import json
import math

import numpy as np
import pytest

from ff_jax.evaluation.benchmark import ScoreKey
from ff_jax.evaluation.report import BenchmarkReport, paper_table, result_tables, write_report
from ff_jax.export.records import Drawing, Panel
from ff_jax.metrics.confidence import Interval
from tests.random_inputs import seeded_rng

NAN = math.nan


def without_bounds(value):
    return Interval(value, NAN, NAN, 40)


RESULTS = {
    ScoreKey("ours", 3.0): {
        "psnr": Interval(22.5, 22.0, 23.0, 5),
        "fid": without_bounds(70.0),
        "warp": without_bounds(0.01),
    },
    ScoreKey("ours", -3.0): {
        "psnr": Interval(20.5, 20.0, 21.0, 5),
        "fid": without_bounds(90.0),
        "nta": Interval(0.5, 0.4, 0.6, 5),
    },
    ScoreKey("theirs", 3.0): {"psnr": without_bounds(21.0)},
    ScoreKey("theirs", -3.0): {"psnr": without_bounds(NAN)},
}
COUNTS = {3.0: 5, -3.0: 5}


def test_tables_have_only_measured_metrics():
    main, strict = result_tables(RESULTS, COUNTS)
    assert main.columns == ("version", "shift", "views", "PSNR^", "NTA-IoU^", "FID_")
    assert main.rows[0] == ("ours", "3 m right", "5", "20.50 ±0.50", "0.500 ±0.100", "90.0")
    assert main.rows[1] == ("theirs", "3 m right", "5", "–", "–", "–")
    assert strict.columns[-1] == "warp_" and len(strict.rows) == 4


def test_the_table_of_the_papers_averages_both_sides():
    table = paper_table(RESULTS)
    assert table.columns == ("method", "NTA-IoU @3m^", "NTL-IoU @3m^", "FID @3m_")
    assert table.rows == [("ours", "0.500", "–", "80.0"), ("theirs", "–", "–", "–")]


def test_captions_say_units_where_the_meter_is_unknown(tmp_path):
    results = {key: values | {"depth_mae": without_bounds(0.3)} for key, values in RESULTS.items()}
    write_report(tmp_path, BenchmarkReport("log", "a test", results, COUNTS, unit="units"))
    tables = (tmp_path / "tables.md").read_text()
    assert "3 units right" in tables and "FID @3 units" in tables and "depth MAE [units]" in tables
    assert "3 m right" not in tables and "@3m" not in tables and "[m]" not in tables
    assert json.loads((tmp_path / "metrics.json").read_text())["unit"] == "units"
    assert "3 m left" not in (tmp_path / "index.html").read_text()


@pytest.fixture
def folder(tmp_path):
    image = seeded_rng().random((8, 12, 3))
    report = BenchmarkReport(
        name="street",
        source="a test",
        results=RESULTS,
        counts=COUNTS,
        facts={"networks": {"lpips": "x"}},
        panels=[Panel(3.0, image, image, image, image[..., 0], name) for name in ("front", "left")],
        drawings=[Drawing("cars <1>", image)],
        extra={"views": [{"psnr": np.float32(2), "bad": NAN}]},
    )
    write_report(tmp_path, report)
    return tmp_path


def test_files_are_complete_and_readable(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["results"][0]["fid"] == {"mean": 70.0, "low": None, "high": None, "count": 40}
    assert metrics["views"] == [{"psnr": 2.0, "bad": None}]
    assert "| ours | 3 m left | 5 | 22.50 ±0.50 |" in (folder / "tables.md").read_text()
    assert r"22.50 $\pm$0.50" in (folder / "tables.tex").read_text()


def test_page_contains_tables_and_drawings(folder):
    page = (folder / "index.html").read_text()
    assert "cars &lt;1&gt;" in page and "Drawn over the frames" in page
    assert "3 m left, front</button>" in page and "3 m left, left</button>" in page
    assert "Strict protocols" in page and "NTA-IoU @3m \u2191" in page and 'src="http' not in page
