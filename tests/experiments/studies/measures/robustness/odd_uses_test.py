"""What a newcomer may do runs, is repaired, or is refused in one sentence."""

import jaxtyping
import pytest

from experiments.studies.measures.robustness.odd_uses import cases
from experiments.studies.measures.robustness.outcomes import BAD, attempt_all
from ff_jax.data.folder import write_folder
from tests.ff_jax.data import tiny

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def without_type_checker():
    """Leave the refusal of other types to the settings, as outside the tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_odd_uses_run_or_are_refused_in_one_sentence(tmp_path):
    good = write_folder(tiny.make_scene(tmp_path / "files"), tmp_path / "good")
    results = list(attempt_all(cases(good), tmp_path / "uses"))
    assert len(results) > 140 and not [result for result in results if result.kind in BAD]
