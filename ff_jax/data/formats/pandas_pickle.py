"""Read the columns of a pickled pandas table, without pandas and without executing the functions that a pickle names.

Logs are untrusted files, and a pickle can name any function to call, so `pandas.read_pickle` would run code from a
download. Reading such files safely is a requirement of this project. Here every name maps to an inert record of its
arguments, except the few functions with which NumPy rebuilds arrays; all other names are rejected. Two layouts of the
block manager of pandas are supported: before version 1.3 (the one of PandaSet), and since.
"""

import codecs
import gzip
import io
import pickle
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from ff_jax.runtime.untrusted_files import read_file

Array = np.ndarray


def read_table(path: Path) -> dict[str, Shaped[Array, "N"]]:
    """Read the columns of the table in a file *.pkl.gz, by name.

    Raises:
        ValueError: the file is missing, damaged, or not a table of plain columns.
    """
    data = read_file(path)
    try:
        table = _Unpickler(io.BytesIO(gzip.decompress(data))).load()
        return table.columns()
    except Exception as error:  # a damaged pickle may raise anything
        raise ValueError(f"{path}: cannot be read as a pickled table ({error}); download it again.") from error


class _Table:
    manager: "_Manager"

    def __setstate__(self, state: dict):
        self.manager = state["_mgr"] if "_mgr" in state else state["_data"]

    def columns(self) -> dict[str, Shaped[Array, "N"]]:
        names, blocks = self.manager.content()
        return {str(names[i]): row for rows, places in blocks for i, row in zip(places, rows, strict=True)}


class _Manager:
    arguments: tuple
    state: tuple | None = None

    def __new__(cls, *arguments: object):
        manager = super().__new__(cls)
        manager.arguments = arguments
        return manager

    def __setstate__(self, state: tuple):
        self.state = state

    def content(self) -> tuple[list, list[tuple[Shaped[Array, "C N"], list[int]]]]:
        """List the names of the columns, and blocks: rows of values with their column numbers."""
        if self.state is not None:  # axes, values, items, {version: the same in full}
            inner = self.state[3]["0.14.1"]
            axes, blocks = inner["axes"], [(block["values"], block["mgr_locs"]) for block in inner["blocks"]]
        else:
            blocks, axes = self.arguments[:2]
        names = list(axes[0])
        return names, [(np.atleast_2d(values), _places(where, len(names))) for values, where in blocks]


def _places(where: slice | Array, count: int) -> list[int]:
    return list(range(count)[where]) if isinstance(where, slice) else [int(i) for i in where]


def _index(kind: str, state: dict) -> list:
    if kind == "RangeIndex":
        return list(range(state["start"], state["stop"], state["step"]))
    return list(state["data"])


def _block(values: Array, where: slice | Array, ndim: int) -> tuple[Array, slice | Array]:
    return values, where


INDICES = ("Index", "RangeIndex", "Int64Index")
REBUILD = np.zeros(1).__reduce__()[0]  # numpy's functions that make arrays
FROM_BUFFER = np.zeros(1).__reduce_ex__(5)[0]
NAMES = {
    "DataFrame": _Table,
    "BlockManager": _Manager,
    "_unpickle_block": _block,
    "_new_Index": _index,
    **{name: name for name in INDICES},
}
NUMPY = {"_reconstruct": REBUILD, "_frombuffer": FROM_BUFFER, "ndarray": np.ndarray, "dtype": np.dtype}
OTHERS = {("builtins", "slice"): slice, ("__builtin__", "slice"): slice, ("_codecs", "encode"): codecs.encode}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        """Map a name in the pickle to its replacement."""
        tables = {"pandas": NAMES, "numpy": NUMPY}
        replacement = tables.get(module.split(".")[0], {}).get(name) or OTHERS.get((module, name))
        if replacement is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not part of a plain table")
        return replacement
