"""Print the measured figures of the README and of pages of the documentation from docs/records.

python -m experiments.tools.pages            # rewrite the pages
python -m experiments.tools.pages --check    # only say which of them differ from the records

A record is one measurement, `docs/records/NAME.DATE.json`: title, commands, device, versions, date, commit and a table.
`commit` is the first revision that states the figures. A cell is a number, a list of numbers, a text or null; a column
gives the format of its numbers, and a cell {"values", "format"} its own. A record of a program's output has `output`,
a list of lines, in place of the table. The record of a name with the latest date is printed between the lines
`<!-- record: NAME -->` and `<!-- end -->` of a page.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = (
    *("README.md", "docs/results.md", "docs/claims.md", "docs/benchmarks.md"),
    *("docs/how_to/other_tools.md", "docs/how_to/simulator.md"),
)
SUMMARY = "summary"  # the table of the README, taken from other records
FIELDS = {"name", "title", "command", "device", "versions", "date", "commit"}
_BLOCK = re.compile(r"(<!-- record: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


class Cell(NamedTuple):
    """Place of a number: record, index of the row, index of the column, index in the cell."""

    record: str
    row: int
    column: int
    index: int = 0


_PAIR = "{:.2f} / {:.3f} -> **{:.2f} / {:.3f}**"
# What was measured; format of its figures; record, and number of its command; places of the figures.
_SUMMARY = (
    ("3 synthetic streets, 3 m left: PSNR, dB", "{:.2f} -> **{:.2f}**", ("streets", 0), (3, 1), (3, 2)),
    ("the same, recorded path: PSNR, dB", "**{:.2f}** -> {:.2f}", ("streets", 0), (0, 1), (0, 2)),
    ("KITTI, right camera: PSNR / LPIPS", _PAIR, ("fusing_logs", 0), (0, 1, 0), (0, 1, 2), (0, 2, 0), (0, 2, 2)),
    (
        "the same, 15,000 steps: PSNR, dB, without fusing (gsplat)",
        "**{:.2f}** ({:.2f})",
        ("kitti_stereo", 1),
        (1, 1),
        (0, 1),
    ),
    ("2.8M Gaussians, 1920x1080: forward, ms (gsplat)", "**{:.2f}** ({:.2f})", ("rendering", 0), (1, 1), (1, 1, 1)),
    ("the same: forward and backward, ms (gsplat)", "**{:.2f}** ({:.2f})", ("rendering", 0), (1, 2), (1, 2, 1)),
    ("the same: EIG map beside a forward pass, ms", "{:.2f}", ("rendering_eig", 0), (0, 2)),
)


def load_records(folder: Path = ROOT / "docs" / "records") -> dict[str, dict[str, Any]]:
    """Read the latest record of every name.

    Raises:
        ValueError: a record lacks a field, or its file is called otherwise than NAME.DATE.json.
    """
    records = {}
    for path in sorted(folder.glob("*.json")):  # dates in order
        record = json.loads(path.read_text())
        if missing := FIELDS - record.keys():
            raise ValueError(f"{path}: {min(missing)} is missing: add it (null if nobody recorded it).")
        if path.name != f"{record['name']}.{record['date']}.json":
            raise ValueError(f"{path}: expected the file name {record['name']}.{record['date']}.json.")
        records[record["name"]] = record
    return records


def format_cell(cell: Any, column: dict[str, str]) -> str:
    """Format a cell: nothing for null, texts as they are, numbers by the format of the cell or of the column."""
    if isinstance(cell, dict):
        return cell["format"].format(*cell["values"])
    if isinstance(cell, int | float):
        cell = [cell]
    return column["format"].format(*cell) if isinstance(cell, list) else cell or ""


def origin(record: dict[str, Any]) -> str:
    """Name device, versions, date and commit of a record, and its commands."""
    versions = [f"{name} {version}" for name, version in record["versions"].items()]
    facts = ", ".join([record["date"], record["device"], *versions, f"revision {record['commit']}"])
    commands = "".join(f"    {command}\n" for command in record["command"])
    return f"{facts}:\n\n{commands}"


def print_record(record: dict[str, Any]) -> str:
    """Print a record as Markdown: its title, its table or output, and where it is from."""
    if "output" in record:
        return "```\n" + "\n".join(record["output"]) + "\n```\n"
    columns = record["columns"]
    rows = [[format_cell(c, k) for c, k in zip(row, columns, strict=True)] for row in record["rows"]]
    head = [[column["title"] for column in columns], ["---"] * len(columns)]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in [*head, *rows])
    return f"\n{record['title']}.\n\n{lines}\n\n{origin(record)}\n"


def print_summary(records: dict[str, dict[str, Any]]) -> str:
    """Print the table of the README."""
    lines = ["", "| measured | figure | device, date | command |", "|---|---|---|---|"]
    for what, form, (name, number), *places in _SUMMARY:
        cells = [Cell(name, *place) for place in places]
        values = [_number(records[c.record]["rows"][c.row][c.column], c.index) for c in cells]
        record = records[name]
        device = record["device"].removeprefix("one ").partition(" (")[0]
        command = record["command"][number].split(" --")[0].removeprefix("python -m ")
        lines.append(f"| {what} | {form.format(*values)} | {device}, {record['date']} | `{command}` |")
    return "\n".join([*lines, ""])


def print_page(text: str, records: dict[str, dict[str, Any]]) -> str:
    """Print all records of a page anew.

    Raises:
        ValueError: the page names a record that does not exist.
    """

    def block(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        if name != SUMMARY and name not in records:
            raise ValueError(f"no record {name!r} in docs/records: expected one of {', '.join(sorted(records))}.")
        return begin + (print_summary(records) if name == SUMMARY else print_record(records[name])) + end

    return _BLOCK.sub(block, text)


def _number(cell: Any, index: int) -> float:
    values = cell["values"] if isinstance(cell, dict) else cell
    return values[index] if isinstance(values, list) else values


def main() -> None:
    """Rewrite the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="Write nothing; fail if a page differs.")
    options = parser.parse_args()
    records, stale = load_records(), []
    for path in (ROOT / name for name in PAGES):
        text = path.read_text()
        if (page := print_page(text, records)) != text:
            stale.append(path.name)
            if not options.check:
                path.write_text(page)
    print(f"{'differs from the records' if options.check else 'rewritten'}: {', '.join(stale) or 'no page'}")
    if stale and options.check:
        sys.exit(1)


if __name__ == "__main__":
    main()
