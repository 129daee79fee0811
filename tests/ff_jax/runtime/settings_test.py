"""Every number of every class of settings runs, or is refused with its name."""

import ast
import dataclasses
import math
import typing
from pathlib import Path

import jaxtyping
import pytest

import ff_jax
from experiments.studies.measures.robustness.setting_cases import (
    ENTRIES,
    GROUPS,
    fields,
    is_stated,
    numeric_kind,
    values_for,
)
from ff_jax.pipeline.config import FuseConfig, demo_config, from_dict
from ff_jax.runtime.settings import SettingError, field_rules


@pytest.fixture(autouse=True)
def without_type_checker():
    """Leave the refusal of other types to the settings, as outside the tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize(("cls", "name"), fields(), ids=lambda part: getattr(part, "__name__", part))
def test_every_value_of_a_setting_runs_or_is_refused_by_its_name(cls, name):
    """0, -1, nan, inf, 1e30 and other types: in the stated range, or a `SettingError` of this setting."""
    hint, bounds = field_rules(cls)[name]
    if numeric_kind(hint) is not None:
        assert bounds is not None, f"{cls.__name__}.{name} states no range"
        assert bounds.low < bounds.high
        assert math.isfinite(bounds.high)
    for value in values_for(cls, name):
        try:
            dataclasses.replace(GROUPS[cls], **{name: value})
        except SettingError as error:
            assert error.name == name
            assert not is_stated(value, cls, name)
        except ValueError:  # two settings that do not fit together
            assert is_stated(value, cls, name)
        else:
            assert is_stated(value, cls, name)


def test_every_entry_of_a_tuple_is_tried():
    """A tuple with one bad entry is among the values of its setting."""
    tuples = [(c, n) for c, n in fields() if typing.get_origin(field_rules(c)[n][0]) is tuple and getattr(GROUPS[c], n)]
    numbers = [(c, n) for c, n in tuples if numeric_kind(field_rules(c)[n][0])]
    assert len(numbers) > 10
    for cls, name in numbers:
        assert sum(isinstance(value, tuple) for value in values_for(cls, name)) == 1 + len(ENTRIES)


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
