"""A sweep is checked before its first run."""

import pytest

from experiments.sweeps.definition import Sweep, run_specs
from experiments.sweeps.settings import check_settings

FUSE = "experiments.fuse"


def sweep(**base):
    return run_specs(Sweep(title="s", metrics={}, base=base, rows={"a": {}, "b": {"eig.use_eig": False}}))


@pytest.mark.parametrize(
    "base", [{"steps": 500}, {"init.scale": "1e-2"}, {"evaluate.shifts": "(0.0, 1.0)"}, {"fixer": "none"}]
)
def test_settings_of_the_main_job_pass(base):
    check_settings(sweep(**base), FUSE)


@pytest.mark.parametrize(
    "base",
    [
        {"foo": 1},
        {"recon.foo": 1},
        {"steps.foo": 1},
        {"steps": "many"},
        {"steps": -1},
        {"steps": 1.5},
        {"init.scale": "nan"},
        {"init.opacity": 2},
        {"recon.budget": "1e12"},
        {"config": "nowhere.py"},
    ],
    ids=str,
)
def test_unknown_settings_and_values_are_refused(base):
    with pytest.raises(ValueError, match=next(iter(base)).split(".")[-1]):
        check_settings(sweep(**base), FUSE)
    check_settings(sweep(**base), "tests.another_program")
