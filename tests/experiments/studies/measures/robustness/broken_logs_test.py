"""Each broken log is refused in one sentence, or repaired."""

import pytest

from experiments.studies.measures.robustness.broken_logs import cases, faults
from experiments.studies.measures.robustness.outcomes import BAD, attempt
from ff_jax.data.folder import write_folder
from tests.ff_jax.data import tiny

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    return write_folder(tiny.make_scene(folder / "files"), folder / "good")


@pytest.mark.parametrize("number", range(len(list(faults()))), ids=[fault.name for fault in faults()])
def test_a_broken_log_is_refused_in_one_sentence_or_repaired(good, number, tmp_path):
    result = attempt(list(cases(good))[number], tmp_path)
    assert result.kind not in BAD, result
