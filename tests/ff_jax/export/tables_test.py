"""One table as text, Markdown and LaTeX."""

import pytest

from ff_jax.export.tables import Table, as_latex, as_markdown, as_text

TABLE = Table("Street_0 at 3 m", ("method", "PSNR^", "FID_"), [("ours & theirs", "22.95", "71.5"), ("none", "7", "–")])


def test_text_lines_up_and_shows_the_better_direction():
    title, *lines = as_text(TABLE).splitlines()
    assert title == "Street_0 at 3 m"
    assert lines[0].split() == ["method", "PSNR", "↑", "FID", "↓"]
    end = lambda line, cell: line.index(cell) + len(cell)
    assert end(lines[0], "PSNR ↑") == end(lines[1], "22.95") == end(lines[2], "7")


def test_markdown_has_one_row_each_and_numbers_to_the_right():
    lines = as_markdown(TABLE).splitlines()
    assert lines[0] == "**Street_0 at 3 m**"
    assert lines[3] == "| --- | ---: | ---: |"
    assert lines[4] == "| ours & theirs | 22.95 | 71.5 |"
    assert len(lines) == 6


def test_latex_escapes_and_points():
    text = as_latex(TABLE)
    assert r"method & PSNR$\uparrow$ & FID$\downarrow$ \\" in text
    assert r"ours \& theirs & 22.95 & 71.5 \\" in text
    assert r"none & 7 & -- \\" in text
    assert text.count(r"\\") == 3 and r"\begin{tabular}{lrr}" in text


def test_a_row_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"\['a'\] must have 2 cells"):
        Table("t", ("x", "y"), [("a",)])
