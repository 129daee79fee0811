"""Check flags after parsing: what absl's own bounds let through."""

import math
from collections.abc import Iterable

from absl import flags


def check_flags(defined: Iterable[flags.Flag]) -> None:
    """Refuse NaN, infinities, and empty texts and lists where something is needed.

    Raises:
        ValueError: a flag that was given on the command line has such a value.
    """
    for flag in defined:
        if flag.present and (expected := _expected(flag)):
            raise ValueError(f"invalid --{flag.name}={_text(flag.value)}: expected {expected}.")


def _expected(flag: flags.Flag) -> str:
    """Describe what a flag should be; "" if its value is right."""
    if isinstance(flag.value, float) and not math.isfinite(flag.value):
        return "a finite number"
    if flag.value == "" and flag.default is None:
        return "a name or a path; an empty one is none"
    if flag.value == [] and flag.default:
        return "at least one entry"
    return ""


def _text(value: object) -> str:
    return "" if value == [] else f"{value}"
