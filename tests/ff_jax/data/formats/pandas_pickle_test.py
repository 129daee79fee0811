import gzip
import os
import pickle

import numpy as np
import pytest

from experiments.studies.measures.robustness.writers.pandas_pickle import Call, table_writer
from ff_jax.data.formats.pandas_pickle import read_table
from tests.random_inputs import seeded_rng


@pytest.fixture
def writer():
    with table_writer() as writer:
        yield writer


@pytest.mark.parametrize("old", [True, False])
def test_columns_of_both_layouts_are_read(writer, tmp_path, old):
    rng = seeded_rng()
    columns = {
        "x": rng.normal(size=5),
        "name": np.array([f"n{i}" for i in rng.integers(9, size=5)], object),
        "y": rng.normal(size=5),
        "d": rng.integers(9, size=5),
        "z": rng.normal(size=5),
        "flag": rng.random(5) < 0.5,
        "t": rng.normal(size=5),
    }
    writer.write(tmp_path / "a.pkl.gz", columns, old)
    actual = read_table(tmp_path / "a.pkl.gz")
    assert set(actual) == set(columns)
    for name, values in columns.items():
        np.testing.assert_array_equal(actual[name], values)
        assert actual[name].dtype == values.dtype


def test_a_pickle_that_names_a_function_is_refused_and_not_run(tmp_path):
    path = tmp_path / "a.pkl.gz"
    call = Call()
    call.reduced = (os.mkdir, (str(tmp_path / "made"),))
    path.write_bytes(gzip.compress(pickle.dumps(call)))
    with pytest.raises(ValueError, match=r"a\.pkl\.gz: cannot be read .*\(it names \w+\.mkdir, which is not"):
        read_table(path)
    assert not (tmp_path / "made").exists()


def test_damaged_files_give_one_sentence(writer, tmp_path):
    path = tmp_path / "a.pkl.gz"
    writer.write(path, {"x": np.arange(50.0)}, True)
    whole = path.read_bytes()
    inside = gzip.decompress(whole)
    for data in (whole[:60], b"", inside, gzip.compress(inside[:90]), gzip.compress(pickle.dumps([1]))):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"a\.pkl\.gz: cannot be read as a pickled table"):
            read_table(path)
