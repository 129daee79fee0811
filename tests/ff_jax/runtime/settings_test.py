"""Every number of every class of settings runs, or is refused with its name."""

import ast
import dataclasses
import math
import typing
from pathlib import Path
from typing import Any

import jaxtyping
import pytest

import ff_jax
from ff_jax.data.synthetic.types import StreetConfig
from ff_jax.fixers.difix.config import DifixConfig
from ff_jax.fixers.difix.trainer import DifixTrainConfig
from ff_jax.fixers.eigent.config import EigentConfig
from ff_jax.fixers.eigent.trainer import EigentTrainConfig
from ff_jax.fixers.multi_view_depth import SweepConfig
from ff_jax.fixers.reprojection import AlignConfig
from ff_jax.fixers.training.phase import PhaseConfig
from ff_jax.fixers.training.state import OptimizerConfig
from ff_jax.pipeline.config import FuseConfig, demo_config, from_dict
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


@pytest.fixture(autouse=True)
def without_type_checker():
    """Leave the refusal of other types to the settings, as outside the tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def _groups(settings: Any) -> dict[type, Any]:
    """Collect a valid example of every class in a tree of settings."""
    found = {type(settings): settings}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        found |= _groups(value) if isinstance(value, Settings) else {}
    return found


GROUPS = {cls: example for root in ROOTS for cls, example in _groups(root).items()}
FIELDS = [(cls, name) for cls in GROUPS for name in field_rules(cls)]


def _numeric_kind(hint: object) -> type | None:
    kind = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint
    return kind if kind in (int, float) else None


def _is_stated(value: Any, cls: type, name: str) -> bool:
    """Decide from the declaration alone whether a value belongs to a setting."""
    hint, bounds = field_rules(cls)[name]
    if bounds is None or type(value) not in ((int,) if hint is int else (int, float)):
        return False
    return hint in (int, float) and bounds.low <= value <= bounds.high  # no scalar belongs to a tuple


@pytest.mark.parametrize(("cls", "name"), FIELDS, ids=lambda part: getattr(part, "__name__", part))
def test_every_value_of_a_setting_runs_or_is_refused_by_its_name(cls, name):
    """0, -1, nan, inf, 1e30 and other types: in the stated range, or a `SettingError` of this setting."""
    hint, bounds = field_rules(cls)[name]
    if _numeric_kind(hint) is None:
        if hint in (bool, str):
            with pytest.raises(SettingError):
                dataclasses.replace(GROUPS[cls], **{name: 7})
        return
    assert bounds is not None, f"{cls.__name__}.{name} states no range"
    assert bounds.low < bounds.high
    assert math.isfinite(bounds.high)
    for value in VALUES:
        try:
            dataclasses.replace(GROUPS[cls], **{name: value})
        except SettingError as error:
            assert error.name == name
            assert not _is_stated(value, cls, name)
        except ValueError:  # two settings that do not fit together
            assert _is_stated(value, cls, name)
        else:
            assert _is_stated(value, cls, name)


@pytest.mark.parametrize(("cls", "name"), [(c, n) for c, n in FIELDS if typing.get_origin(field_rules(c)[n][0])])
def test_every_entry_of_a_tuple_is_checked(cls, name):
    """A tuple with one bad entry, or of another length, is refused by the name of the setting."""
    current = getattr(GROUPS[cls], name)
    if _numeric_kind(field_rules(cls)[name][0]) is None or not current:
        return
    for value in (math.nan, math.inf, 1e30, "a", None):
        with pytest.raises(SettingError) as caught:
            dataclasses.replace(GROUPS[cls], **{name: (*current[:-1], value)})
        assert caught.value.name == name


def test_the_sentence_names_the_whole_path_of_a_setting():
    """A value deep in a tree of settings is named as on the command line."""
    with pytest.raises(SettingError, match=r"recon\.density\.noise=nan") as caught:
        from_dict(FuseConfig, {"recon": {"density": {"noise": math.nan}}})
    assert caught.value.name == "recon.density.noise"


def test_settings_in_use_are_in_range():
    """The demo and lists from JSON files pass."""
    assert from_dict(FuseConfig, dataclasses.asdict(demo_config())) == demo_config()
    assert from_dict(FuseConfig, {"schedule": {"sides": [1]}}).schedule.sides == (1,)


def test_every_class_of_settings_checks_itself():
    """No class called ...Config in `ff_jax` is without ranges, and all of them are walked above."""
    walked = {cls.__name__ for cls in GROUPS}
    exempt = {"LoopConfig"}  # the paths and functions of one call
    for path in Path(ff_jax.__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name.endswith("Config") and node.name not in exempt:
                assert node.name in walked, f"{path}: {node.name}"
