import gzip
import os
import pickle
import sys
import types

import numpy as np
import pytest

from ff_jax.data.formats.pandas_pickle import read_table

MODULES = {
    "pandas.core.frame": ("DataFrame",),
    "pandas.core.internals.managers": ("BlockManager",),
    "pandas._libs.internals": ("_unpickle_block",),
    "pandas.core.indexes.base": ("_new_Index", "Index"),
    "pandas.core.indexes.range": ("RangeIndex",),
}


def _named(module, name):
    """Return something that is pickled as a name of pandas."""
    return type(name, (), {"__module__": module, "__qualname__": name})


class Writer:
    """Pickle tables in the two layouts of pandas' block manager, without pandas."""

    def __init__(self, monkeypatch):
        self.names = {}
        for module, names in MODULES.items():
            for part in range(1, module.count(".") + 2):
                name = ".".join(module.split(".")[:part])
                monkeypatch.setitem(sys.modules, name, sys.modules.get(name) or types.ModuleType(name))
            for name in names:
                self.names[name] = _named(module, name)
                setattr(sys.modules[module], name, self.names[name])

    def called(self, name, *arguments, state=None):
        """Return something that is pickled as name(*arguments), with `state` set afterwards."""
        data_bytes = _Call()
        data_bytes.reduced = (self.names[name], arguments) + (() if state is None else (state,))
        return data_bytes

    def index(self, names):
        return self.called("_new_Index", self.names["Index"], {"data": np.array(names, object), "name": None})

    def table(self, columns, old):
        groups = {}
        for place, (name, values) in enumerate(columns.items()):
            groups.setdefault(values.dtype, []).append((place, name, values))
        blocks = [(np.stack([v for _, _, v in group]), [p for p, _, _ in group]) for group in groups.values()]
        count = len(next(iter(columns.values())))
        rows = self.called("_new_Index", self.names["RangeIndex"], dict(name=None, start=0, stop=count, step=1))
        axes = [self.index(list(columns)), rows]
        if old:
            full = [{"values": values, "mgr_locs": np.array(places)} for values, places in blocks]
            state = (axes, [v for v, _ in blocks], [], {"0.14.1": {"axes": axes, "blocks": full}})
            manager = self.called("BlockManager", state=state)
            return self.called("DataFrame", state={"_data": manager, "_typ": "dataframe", "_metadata": []})
        data_bytes = tuple(self.called("_unpickle_block", v, where(places), 2) for v, places in blocks)
        manager = self.called("BlockManager", data_bytes, axes)
        return self.called("DataFrame", state={"_mgr": manager, "_typ": "dataframe", "attrs": {}, "_flags": {}})

    def write(self, path, columns, old):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(pickle.dumps(self.table(columns, old), protocol=4)))


class _Call:
    def __reduce__(self):
        return self.reduced


def where(places):
    steps = set(np.diff(places).tolist())
    return slice(places[0], places[-1] + 1, steps.pop() if steps else 1) if len(steps) < 2 else np.array(places)


@pytest.fixture
def writer(monkeypatch):
    return Writer(monkeypatch)


@pytest.mark.parametrize("old", [True, False])
def test_columns_of_both_layouts_are_read(writer, tmp_path, old):
    rng = np.random.default_rng()
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
    call = _Call()
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
