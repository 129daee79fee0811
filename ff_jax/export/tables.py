"""Format tables as aligned text, Markdown and LaTeX."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Text = Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table of text cells.

    Attributes:
        title: caption of the table.
        columns: column titles; a "^" at the end means that higher is better, "_" that lower is.
        rows: cells, one per column.
    """

    title: str
    columns: Text
    rows: Sequence[Text]

    def __post_init__(self):
        """Check the length of every row."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r}: row {list(row)} must have {len(self.columns)} cells.")


_ARROWS = {"^": " \N{UPWARDS ARROW}", "_": " \N{DOWNWARDS ARROW}"}


def column_title(column: str) -> str:
    """Format a column title with an arrow for the better direction."""
    return column[:-1] + _ARROWS[column[-1]] if column[-1:] in _ARROWS else column


def as_text(table: Table) -> str:
    """Format the table in aligned columns."""
    lines = [[column_title(column) for column in table.columns], *map(list, table.rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    text = [table.title]
    for first, *others in lines:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        text.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(text)


def as_markdown(table: Table) -> str:
    """Format the table in Markdown, with its title in bold above."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = line(["---"] + ["---:"] * (len(table.columns) - 1))
    return "\n".join([f"**{table.title}**", "", line(map(column_title, table.columns)), rule, *map(line, table.rows)])


def as_latex(table: Table) -> str:
    """Format the table in LaTeX (needs the package booktabs)."""
    arrows = {"^": r"$\uparrow$", "_": r"$\downarrow$"}
    titles = [_escape(c[:-1]) + arrows[c[-1]] if c[-1:] in arrows else _escape(c) for c in table.columns]
    rows = [titles, *[list(map(_escape, row)) for row in table.rows]]
    first, *others = [" & ".join(row) + r" \\" for row in rows]
    begin = r"\begin{tabular}{l" + "r" * (len(table.columns) - 1) + "}"
    body = [r"\toprule", first, r"\midrule", *others, r"\bottomrule"]
    return "\n".join([f"% {table.title}", begin, *body, r"\end{tabular}"])


def _escape(text: str) -> str:
    for sign in "&%$#_{}":
        text = text.replace(sign, "\\" + sign)
    return text.replace("\N{PLUS-MINUS SIGN}", r"$\pm$").replace("\N{EN DASH}", "--")
