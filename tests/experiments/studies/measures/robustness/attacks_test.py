"""No attack by files succeeds: foreign files stay unread and unchanged, and the limits of time and memory hold."""

import pytest

from experiments.studies.measures.robustness.attacks import cases
from experiments.studies.measures.robustness.outcomes import BAD, attempt_all
from ff_jax.data.folder import write_folder
from tests.ff_jax.data import tiny

pytestmark = pytest.mark.slow


@pytest.mark.filterwarnings("ignore:Corrupt EXIF|Truncated File Read|Metadata Warning")
def test_no_attack_succeeds(tmp_path):
    good = write_folder(tiny.make_scene(tmp_path / "files"), tmp_path / "good")
    results = list(attempt_all(cases(good, tiny.make_scene), tmp_path / "attacks"))
    assert len(results) > 150 and not [result for result in results if result.kind in BAD]
