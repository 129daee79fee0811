"""The measured figures of the pages are those of the records."""

import datetime
import json

import pytest

from experiments.tools import pages

RECORDS = pages.load_records()


@pytest.mark.parametrize("name", pages.PAGES)
def test_a_page_has_the_figures_of_the_records(name):
    text = (pages.ROOT / name).read_text()
    assert pages.print_page(text, RECORDS) == text, "run python -m experiments.tools.pages"


def test_every_record_is_printed_and_complete():
    texts = [(pages.ROOT / name).read_text() for name in pages.PAGES]
    for name, record in RECORDS.items():
        assert any(f"<!-- record: {name} -->" in text for text in texts), name
        assert record["command"] and record["device"] and len(record["commit"]) >= 7
        datetime.date.fromisoformat(record["date"])


def test_a_changed_figure_changes_the_page(tmp_path):
    record = RECORDS["streets"] | {"date": "2099-01-01"}
    record["rows"] = [[*row[:1], [99.125, 0.5], *row[2:]] for row in record["rows"]]
    for entry in (RECORDS["streets"], record):
        (tmp_path / f"streets.{entry['date']}.json").write_text(json.dumps(entry))
    latest = pages.load_records(tmp_path)["streets"]
    assert latest["date"] == "2099-01-01"
    page = pages.print_page("<!-- record: streets -->\nold\n<!-- end -->", {"streets": latest})
    assert "99.12 +- 0.50" in page and "old" not in page and "2099-01-01" in page


def test_cells_are_formatted_by_their_column_or_by_themselves():
    column = {"title": "ms", "format": "{:.1f} / {:.2f}"}
    assert pages.format_cell([1, 2.0], column) == "1.0 / 2.00"
    assert pages.format_cell({"values": [3], "format": "{:+.0f} %"}, column) == "+3 %"
    assert pages.format_cell(None, column) == "" and pages.format_cell("not timed", column) == "not timed"


def test_damaged_records_and_unknown_names_are_refused(tmp_path):
    (tmp_path / "a.2026-01-01.json").write_text('{"name": "a", "date": "2026-01-01"}')
    with pytest.raises(ValueError, match="command"):
        pages.load_records(tmp_path)
    (tmp_path / "a.2026-01-01.json").rename(tmp_path / "b.json")
    (tmp_path / "b.json").write_text(json.dumps(RECORDS["cpu"]))
    with pytest.raises(ValueError, match=r"cpu\.2026-11-28\.json"):
        pages.load_records(tmp_path)
    with pytest.raises(ValueError, match="'absent'"):
        pages.print_page("<!-- record: absent -->\n<!-- end -->", RECORDS)
