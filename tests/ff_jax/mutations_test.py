"""Damaged files of every format: bytes are flipped, cut out, repeated and overwritten at random.

The outcome is a result, or an error that names the file. Readers run in this process: a crash would end the test.
"""

import time

import pytest

from experiments.studies.measures.robustness import mutations
from experiments.studies.measures.robustness.file_formats import formats
from experiments.studies.measures.robustness.outcomes import BAD, MAX_BYTES, MAX_SECONDS
from ff_jax.runtime.run_log import peak_memory
from tests.ff_jax.data import tiny
from tests.random_inputs import seeded_rng

hypothesis = pytest.importorskip("hypothesis")

pytestmark = pytest.mark.slow
st = hypothesis.strategies

FORMATS = formats(tiny.make_scene)
OPERATION = st.builds(
    mutations.Operation,
    st.sampled_from(mutations.KINDS),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, mutations.MAX_LENGTH),
    st.sampled_from(mutations.ODD),
)
ignore_warnings = pytest.mark.filterwarnings("ignore:Corrupt EXIF|Truncated File Read|Metadata Warning")


@ignore_warnings
@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_read_or_named(name, tmp_path):
    """Hypothesis reduces what fails to the fewest operations."""
    form = FORMATS[name]
    try:
        path = form.make(tmp_path)
    except ImportError as error:
        pytest.skip(str(error))
    form.read(path)  # the file is valid
    original = path.read_bytes()

    @hypothesis.settings(
        max_examples=50, database=None, derandomize=True, print_blob=False, deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(st.lists(OPERATION, min_size=1, max_size=mutations.MAX_OPERATIONS))
    def run(operations):
        begin = time.process_time()  # of this process: others may slow it down
        try:
            mutations.read_mutated(path, form.read, mutations.mutate(original, operations))
        except (ValueError, OSError) as error:
            names = mutations.names_of(path)
            assert any(name in str(error) for name in names), f"the error does not name the file: {error}"
        assert time.process_time() - begin < MAX_SECONDS

    run()


@ignore_warnings
@pytest.mark.parametrize("name", FORMATS)
def test_hundreds_of_damaged_files_are_read_or_named(name, tmp_path):
    before = peak_memory()["peak_host_bytes"]
    try:
        results = list(mutations.results(name, FORMATS[name], tmp_path, seeded_rng()))
    except ImportError as error:
        pytest.skip(str(error))
    assert len(results) == mutations.COUNT * FORMATS[name].share
    assert not [result for result in results if result.kind in BAD]
    assert peak_memory()["peak_host_bytes"] - before < MAX_BYTES
