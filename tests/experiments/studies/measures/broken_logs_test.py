"""The faults of `experiments.studies.broken_logs`: each broken log is refused in one sentence, or repaired."""

import pytest

from experiments.studies.measures.broken_logs import REPAIRED, SENTENCE, faults, outcome
from ff_jax.data.folder import write_folder
from tests.ff_jax.data import tiny


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    return write_folder(tiny.make_scene(folder / "files"), folder / "good")


@pytest.mark.parametrize("fault", faults(), ids=lambda fault: fault.name)
def test_a_broken_log_is_refused_in_one_sentence_or_repaired(good, fault, tmp_path):
    result, text = outcome(good, fault, tmp_path / "broken")
    assert result == (REPAIRED if fault.is_repaired else SENTENCE), text
