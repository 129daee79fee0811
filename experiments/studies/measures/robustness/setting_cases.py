"""Values for every setting of every class of settings: each is in the stated range, or refused by its name."""

import dataclasses
import math
import typing
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from experiments.studies.measures.robustness.outcomes import RUNS, SENTENCE, SILENT, Case, plain
from ff_jax.data.synthetic.types import StreetConfig
from ff_jax.fixers.difix.config import DifixConfig
from ff_jax.fixers.difix.trainer import DifixTrainConfig
from ff_jax.fixers.eigent.config import EigentConfig
from ff_jax.fixers.eigent.trainer import EigentTrainConfig
from ff_jax.fixers.multi_view_depth import SweepConfig
from ff_jax.fixers.reprojection import AlignConfig
from ff_jax.fixers.training.phase import PhaseConfig
from ff_jax.fixers.training.state import OptimizerConfig
from ff_jax.pipeline.config import FuseConfig
from ff_jax.runtime.settings import SettingError, Settings, field_rules

ROOTS = (
    FuseConfig(),
    DifixConfig(),
    DifixTrainConfig(),
    EigentConfig(),
    EigentTrainConfig(),
    PhaseConfig(steps=10, lr=1e-3),
    OptimizerConfig(),
    StreetConfig(),
    AlignConfig(),
    SweepConfig(),
)
VALUES = (0, -1, math.nan, math.inf, -math.inf, 1e30, 10**30, "many", None, True, ("a",), 0.5)
ENTRIES = (math.nan, math.inf, 1e30, "a", None)  # of a tuple


def _groups(settings: Any) -> dict[type, Any]:
    """Collect a valid example of every class in a tree of settings."""
    found = {type(settings): settings}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        found |= _groups(value) if isinstance(value, Settings) else {}
    return found


GROUPS = {cls: example for root in ROOTS for cls, example in _groups(root).items()}


def fields() -> list[tuple[type, str]]:
    """List the classes of settings with the names of their settings."""
    return [(cls, name) for cls in GROUPS for name in field_rules(cls)]


def numeric_kind(hint: object) -> type | None:
    """Return int or float for a number or a tuple of numbers, and None for other types."""
    kind = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint
    return kind if kind in (int, float) else None


def is_stated(value: Any, cls: type, name: str) -> bool:
    """Decide from the declaration alone whether a value belongs to a setting."""
    hint, bounds = field_rules(cls)[name]
    if bounds is None or type(value) not in ((int,) if hint is int else (int, float)):
        return False
    return hint in (int, float) and bounds.low <= value <= bounds.high  # no scalar belongs to a tuple


def replace(cls: type, name: str, value: Any, _: Path | None = None) -> str | None:
    """Set one setting; SILENT if a value outside the range passes, or one inside is refused by its range.

    Raises:
        ValueError: the value is refused.
    """
    try:
        dataclasses.replace(GROUPS[cls], **{name: value})
    except SettingError:
        if is_stated(value, cls, name):
            return SILENT
        raise
    except ValueError:  # two settings that do not fit together
        if not is_stated(value, cls, name):
            return SILENT
        raise
    return None if is_stated(value, cls, name) else SILENT


def cases() -> Iterator[Case]:
    """Give the cases of all settings: numbers in and out of range, other types, and bad entries of tuples."""
    for cls, name in fields():
        for value in values_for(cls, name):
            # Two settings that do not fit together are both named, in no order.
            yield Case(
                f"{cls.__name__}.{name}={plain(value)}", partial(replace, cls, name, value), (), (RUNS, SENTENCE)
            )


def values_for(cls: type, name: str) -> Iterator[Any]:
    """Give the values that are tried for a setting."""
    hint, _ = field_rules(cls)[name]
    if numeric_kind(hint) is not None:
        yield from VALUES
        current = getattr(GROUPS[cls], name)
        if typing.get_origin(hint) is tuple and current:
            yield from ((*current[:-1], entry) for entry in ENTRIES)
    elif hint in (bool, str):
        yield 7
