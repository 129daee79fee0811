"""PyTorch originals of the metrics, imported beside a stand-in for torchvision: what is compared uses none of it."""

import importlib
import importlib.machinery
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

_PARTS = ("", ".datasets", ".models", ".transforms", ".transforms.functional", ".utils")


class _StandIn(types.ModuleType):
    """A module in which every name is an empty class."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@contextmanager
def imported(*names: str, **models: Callable) -> Iterator[list[types.ModuleType]]:
    """Yield modules of one package, imported while torchvision.models has only `models`; skip where it is absent."""
    pytest.importorskip("torch")
    roots = {"torchvision", names[0].split(".")[0]}
    ours = lambda: {key: module for key, module in sys.modules.items() if key.split(".")[0] in roots}
    before = ours()
    for key in before:
        del sys.modules[key]
    for part in _PARTS:
        key = f"torchvision{part}"
        sys.modules[key] = _StandIn(key)
        sys.modules[key].__spec__ = importlib.machinery.ModuleSpec(key, None)
        if part:
            parent, child = key.rsplit(".", 1)
            setattr(sys.modules[parent], child, sys.modules[key])
    vars(sys.modules["torchvision.models"]).update(models)
    try:
        yield [pytest.importorskip(name) for name in names]
    finally:
        for key in ours():
            del sys.modules[key]
        sys.modules.update(before)
