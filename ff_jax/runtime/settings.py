"""Settings with stated ranges: a field states what it accepts beside its documentation, and its class checks it.

A class of settings is a frozen dataclass that inherits from `Settings`. Every number in it is `bounded`; its values are
checked when it is made, whoever makes it: a command line, a file of settings, a stored run or a program.
"""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

BOUNDS = "bounds"  # key of a field's metadata
MAX_STEPS = 100_000_000
MAX_SEED = 2**31 - 1  # JAX keys are made of 32-bit integers
_NUMBERS = {int: Integral, float: Real}


class Bounds(NamedTuple):
    """The smallest and the largest value of a setting, or of every entry of a tuple."""

    low: float | int
    high: float | int


class SettingError(ValueError):
    """A setting has a value outside its range or of another type."""

    def __init__(self, name: str, value: object, expected: str):
        self.name, self.value, self.expected = name, value, expected
        super().__init__(f"invalid {name}={value!r}: expected {expected}.")

    def within(self, group: str) -> "SettingError":
        """Make the same error for the setting of a group, named `group.name`."""
        return SettingError(f"{group}.{self.name}", self.value, self.expected)


def bounded(default: Any, low: float | int, high: float | int) -> Any:
    """Declare a field of a dataclass with its range, ends included; the default MISSING requires a value."""
    return dataclasses.field(default=default, metadata={BOUNDS: Bounds(low, high)})


class Settings:
    """Base of the classes of settings: checks types and ranges of all fields after construction."""

    def __post_init__(self):
        """Check all fields; a class with more checks calls this first."""
        for name, (hint, bounds) in field_rules(type(self)).items():
            check_value(name, getattr(self, name), hint, bounds)


@functools.cache
def field_rules(cls: type) -> Mapping[str, tuple[Any, Bounds | None]]:
    """Collect the type and the range of every field of a class of settings."""
    hints = typing.get_type_hints(cls)
    return {field.name: (hints[field.name], field.metadata.get(BOUNDS)) for field in dataclasses.fields(cls)}


def check_value(name: str, value: Any, hint: Any, bounds: Bounds | None) -> None:
    """Check the type and the range of a setting.

    Raises:
        SettingError: the value has another type, is not finite, or is out of range.
    """
    if hint in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, _NUMBERS[hint]) or not _is_inside(value, bounds):
            raise SettingError(name, value, describe(hint, bounds))
    elif typing.get_origin(hint) is tuple:
        _check_tuple(name, value, typing.get_args(hint), bounds)
    elif isinstance(hint, types.UnionType):
        if value is not None:
            for kind in set(typing.get_args(hint)) & {int, float, str}:
                check_value(name, value, kind, bounds)
    elif isinstance(hint, type) and not isinstance(value, hint):
        raise SettingError(name, value, describe(hint, bounds))


def describe(hint: Any, bounds: Bounds | None) -> str:
    """Describe the values that a setting accepts."""
    words = {int: "a whole number", float: "a finite number", bool: "True or False", str: "a text"}
    text = words.get(hint, f"a {getattr(hint, '__name__', hint)}")
    return text if bounds is None else f"{text} from {_text(bounds.low)} to {_text(bounds.high)}"


def _text(number: float | int) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


def _check_tuple(name: str, value: Any, kinds: tuple, bounds: Bounds | None) -> None:
    kind, length = kinds[0], None if kinds[-1] is Ellipsis else len(kinds)
    count = "numbers" if length is None else f"{length} numbers"
    if not isinstance(value, tuple) or length not in (None, len(value)):
        raise SettingError(name, value, f"a tuple of {count if kind in _NUMBERS else 'texts'}")
    for entry in value:
        try:
            check_value(name, entry, kind, bounds)
        except SettingError as error:
            raise SettingError(name, value, f"every entry to be {error.expected}") from None


def _is_inside(value: Any, bounds: Bounds | None) -> bool:
    return (isinstance(value, int) or math.isfinite(value)) and (bounds is None or bounds.low <= value <= bounds.high)
