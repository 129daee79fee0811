"""One table in three forms: for the terminal, for Markdown and for LaTeX."""

from collections.abc import Sequence
from dataclasses import dataclass

Text = Sequence[str]


@dataclass(frozen=True)
class Table:
    """Cells as text; rows of one `group` stand together.

    Attributes:
        title: what the table shows.
        columns: heads of the columns; "^" at the end says that higher is better, "_" that lower is.
        rows: cells, one for each column.
    """

    title: str
    columns: Text
    rows: Sequence[Text]

    def __post_init__(self):
        """Check that every row fits."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r}: row {list(row)} has not {len(self.columns)} cells.")


_ARROWS = {"^": " \N{UPWARDS ARROW}", "_": " \N{DOWNWARDS ARROW}"}


def head(column: str) -> str:
    """Return a column's head with an arrow for the better direction."""
    return column[:-1] + _ARROWS[column[-1]] if column[-1:] in _ARROWS else column


def as_text(table: Table) -> str:
    """Return the table in aligned columns."""
    lines = [[head(column) for column in table.columns], *map(list, table.rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    cells = lambda line: [line[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)]
    return "\n".join([table.title] + ["  ".join(cells(line)).rstrip() for line in lines])


def as_markdown(table: Table) -> str:
    """Return the table in Markdown, its title in bold above it."""
    line = lambda cells: "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    rule = line(["---"] + ["---:"] * (len(table.columns) - 1))
    return "\n".join([f"**{table.title}**", "", line(map(head, table.columns)), rule, *map(line, table.rows)])


def as_latex(table: Table) -> str:
    """Return the table in LaTeX (needs the package booktabs), best values not marked."""
    arrows = {"^": r"$\uparrow$", "_": r"$\downarrow$"}
    heads = [_escape(c[:-1]) + arrows[c[-1]] if c[-1:] in arrows else _escape(c) for c in table.columns]
    line = lambda cells: " & ".join(cells) + r" \\"
    return "\n".join(
        [
            f"% {table.title}",
            r"\begin{tabular}{l" + "r" * (len(table.columns) - 1) + "}",
            r"\toprule",
            line(heads),
            r"\midrule",
            *[line(map(_escape, row)) for row in table.rows],
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _escape(text: str) -> str:
    for sign in "&%$#_{}":
        text = text.replace(sign, "\\" + sign)
    return text.replace("\N{PLUS-MINUS SIGN}", r"$\pm$").replace("\N{EN DASH}", "--")
