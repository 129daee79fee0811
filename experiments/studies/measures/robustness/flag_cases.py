"""Values for the flags of all entry points: each is parsed within its range, or refused by the name of the flag."""

import ast
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from experiments.cli import command_line
from experiments.cli.flag_checks import check_flags
from experiments.studies.measures.robustness.outcomes import RUNS, SENTENCE, SILENT, Case

ROOT = Path(command_line.__file__).parents[1]
NUMBERS = ("0", "-1", "nan", "inf", "-inf", "1e30", "1" + "0" * 30, "many", "", "1,2")
ENTRIES = ("nan", "inf", "1e30", "-1", "x", "1.5")  # of lists of whole numbers
RANGES = ("9:5", "5:5", "5", "-1:4", "a:b", "1:1e9", "0:" + "9" * 30, "")
PAIRS = ("nan:1", "1:inf", "1", "-1:2", "")


class NumberFlag(NamedTuple):
    """A numeric flag of an entry point."""

    place: str  # file and name
    is_whole: bool
    low: float | int
    high: float | int


def number_flags() -> Iterator[NumberFlag]:
    """Find the definitions of numeric flags in all entry points.

    Raises:
        ValueError: one has no range.
    """
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("flags.DEFINE_integer", "flags.DEFINE_float"):
                place = f"{path.relative_to(ROOT)}:{ast.literal_eval(node.args[0])}"
                bounds = (_bound(node, name, place) for name in ("lower_bound", "upper_bound"))
                yield NumberFlag(place, ast.unparse(node.func).endswith("integer"), *bounds)


def _bound(node: ast.Call, name: str, place: str) -> float | int:
    value = next((keyword.value for keyword in node.keywords if keyword.arg == name), None)
    if value is None:
        raise ValueError(f"{place} has no {name}: state the range of every number.")
    try:
        return ast.literal_eval(value)
    except ValueError:
        return 1  # computed from a constant of the module


def parse_number(flag: NumberFlag, text: str) -> str | None:
    """Parse a value as the command line does; SILENT if a value outside the range passes.

    Raises:
        ValueError: the value is refused.
    """
    values = flags.FlagValues()
    define: Any = flags.DEFINE_integer if flag.is_whole else flags.DEFINE_float
    define("number", None, "A number.", lower_bound=flag.low, upper_bound=flag.high, flag_values=values)
    try:
        values(["program", f"--number={text}"])
    except flags.Error as error:
        raise ValueError(str(error)) from error
    check_flags([values["number"]])
    is_inside = math.isfinite(float(text)) and flag.low <= float(text) <= flag.high
    return None if is_inside else SILENT


def parse_entries(text: str, kind: type) -> None:
    """Parse a value of a list flag.

    Raises:
        ValueError: an entry is refused.
    """
    defined = flags.FlagValues()
    holder = flags.DEFINE_list("seeds", [], "Seeds.", flag_values=defined)
    defined(["program", f"--seeds={text}"])
    command_line.parse_numbers(holder, kind)


def cases() -> Iterator[Case]:
    """Give the cases of all flags."""
    for flag in number_flags():
        for text in NUMBERS:
            name = f"{flag.place}={text}"
            yield Case(name, lambda _, f=flag, t=text: parse_number(f, t), ("number",), (RUNS, SENTENCE))
    for text in ENTRIES:
        yield Case(f"whole entry {text}", lambda _, t=text: parse_entries(f"3,{t}", int), ("seeds",))
        if text not in ("-1", "1.5"):
            yield Case(f"entry {text}", lambda _, t=text: parse_entries(f"3,{t}", float), ("seeds",))
    for text in RANGES:
        yield Case(f"range {text!r}", lambda _, t=text: _ignore(command_line.parse_range(t, "seeds")), ("seeds",))
    for text in PAIRS:
        yield Case(f"pair {text!r}", lambda _, t=text: _ignore(command_line.parse_pair(t, ":", "off", float)), ("off",))


def _ignore(_: object) -> None:
    """Drop a result: the value was accepted."""
