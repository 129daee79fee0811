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

from ff_jax.runtime.untrusted_files import read_file, reason

_MAX_BYTES = 1 << 28  # of a decompressed table; those of PandaSet have 10 MB

Array = np.ndarray


def read_table(path: Path) -> dict[str, Shaped[Array, "N"]]:
    """Read the columns of the table in a file *.pkl.gz, by name.

    Raises:
        ValueError: the file is missing, damaged, or not a table of plain columns.
    """
    data = read_file(path)
    try:
        with gzip.open(io.BytesIO(data)) as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES} bytes")
        table = _Unpickler(io.BytesIO(content)).load()
        return table.columns()
    except Exception as error:  # a damaged pickle may raise anything
        raise ValueError(f"{path}: cannot be read as a pickled table ({reason(error)}); download it again.") from error


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
        numbers = range(state["start"], state["stop"], state["step"])
        if len(numbers) > _MAX_BYTES:
            raise ValueError(f"its index has {len(numbers)} entries")
        return list(numbers)
    return list(state["data"])


def _block(values: Array, where: slice | Array, ndim: int) -> tuple[Array, slice | Array]:
    return values, where


INDICES = ("Index", "RangeIndex", "Int64Index")


def _reconstruct(kind: object, shape: object, code: object) -> Array:
    """Make the empty array that a pickle then fills, as NumPy does; another shape would need memory for nothing."""
    if shape != (0,):
        raise ValueError(f"it makes an array of shape {shape}")
    return np.ndarray((0,), np.int8)


FROM_BUFFER = np.zeros(1).__reduce_ex__(5)[0]
NAMES = {
    "DataFrame": _Table,
    "BlockManager": _Manager,
    "_unpickle_block": _block,
    "_new_Index": _index,
    **{name: name for name in INDICES},
}
NUMPY = {"_reconstruct": _reconstruct, "_frombuffer": FROM_BUFFER, "ndarray": "ndarray", "dtype": np.dtype}
OTHERS = {("builtins", "slice"): slice, ("__builtin__", "slice"): slice, ("_codecs", "encode"): codecs.encode}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        """Map a name in the pickle to its replacement."""
        tables = {"pandas": NAMES, "numpy": NUMPY}
        replacement = tables.get(module.split(".")[0], {}).get(name) or OTHERS.get((module, name))
        if replacement is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not part of a plain table")
        return replacement
