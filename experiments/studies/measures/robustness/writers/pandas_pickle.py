"""Write pickled tables in the two layouts of pandas' block manager, without pandas."""

import gzip
import pickle
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

Array = np.ndarray

MODULES = {
    "pandas.core.frame": ("DataFrame",),
    "pandas.core.internals.managers": ("BlockManager",),
    "pandas._libs.internals": ("_unpickle_block",),
    "pandas.core.indexes.base": ("_new_Index", "Index"),
    "pandas.core.indexes.range": ("RangeIndex",),
}


def _named(module: str, name: str) -> type:
    """Make a class that is pickled as a name of pandas."""
    return type(name, (), {"__module__": module, "__qualname__": name})


@contextmanager
def table_writer() -> Iterator["Writer"]:
    """Give a writer; meanwhile `sys.modules` has stand-ins for the modules of pandas."""
    stand_ins: dict[str, types.ModuleType] = {}
    for module, names in MODULES.items():
        for part in range(1, module.count(".") + 2):
            name = ".".join(module.split(".")[:part])
            stand_ins.setdefault(name, types.ModuleType(name))
        for name in names:
            setattr(stand_ins[module], name, _named(module, name))
    with mock.patch.dict(sys.modules, stand_ins):
        yield Writer()


class Writer:
    """Pickle tables in the two layouts of pandas' block manager, without pandas."""

    def __init__(self):
        """Take the names of pandas from `sys.modules` (see `table_writer`)."""
        self.names = {name: getattr(sys.modules[module], name) for module, names in MODULES.items() for name in names}

    def called(self, name: str, *arguments: Any, state: Any = None) -> "Call":
        """Make what is pickled as name(*arguments), with `state` set afterwards."""
        data_bytes = Call()
        data_bytes.reduced = (self.names[name], arguments) + (() if state is None else (state,))
        return data_bytes

    def index(self, names: Sequence[str]) -> "Call":
        """Make an index of names."""
        return self.called("_new_Index", self.names["Index"], {"data": np.array(names, object), "name": None})

    def table(self, columns: Mapping[str, Array], old: bool) -> "Call":
        """Make a table of columns by name, in the layout of old or of new versions of pandas."""
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

    def write(self, path: Path, columns: Mapping[str, Array], old: bool) -> None:
        """Write a compressed table."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(pickle.dumps(self.table(columns, old), protocol=4)))


class Call:
    """A call that is pickled; `reduced` is what `__reduce__` returns."""

    reduced: tuple = ()

    def __reduce__(self) -> tuple:
        return self.reduced


def where(places: Sequence[int]) -> slice | Array:
    """Name the places of the columns of a block as pandas does."""
    steps = set(np.diff(places).tolist())
    return slice(places[0], places[-1] + 1, steps.pop() if steps else 1) if len(steps) < 2 else np.array(places)
