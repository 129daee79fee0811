"""A torchvision that cannot be imported is hidden; one that can be is not."""

import importlib
import sys
import types

import pytest

from tests.ff_jax.fixers.difix import torch_difix  # noqa: F401  # isort: skip  (decides what diffusers imports)
from ff_jax.fixers.difix import _torchvision_workaround


@pytest.fixture
def tools(monkeypatch):
    """Let torchvision be there but not imported yet; return the stand-ins for what looks for it."""
    found = {
        f"{name}.utils.import_utils": types.SimpleNamespace(_torchvision_available=True)
        for name in ("transformers", "diffusers")
    }
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: object())
    return found


@pytest.mark.parametrize("error", [RuntimeError("operator torchvision::nms does not exist"), ImportError("no symbol")])
def test_one_that_fails_is_hidden(monkeypatch, tools, error):
    def load(name):
        if name == "torchvision":
            raise error
        return tools[name]

    monkeypatch.setattr(importlib, "import_module", load)
    monkeypatch.setitem(sys.modules, "torchvision", None)  # put back afterwards
    del sys.modules["torchvision"]
    _torchvision_workaround.hide_unfit_torchvision()
    assert "torchvision" in sys.modules and sys.modules["torchvision"] is None
    assert not any(module._torchvision_available for module in tools.values())


def test_one_that_works_stays(monkeypatch, tools):
    monkeypatch.setattr(importlib, "import_module", lambda name: types.ModuleType(name))
    _torchvision_workaround.hide_unfit_torchvision()
    assert sys.modules.get("torchvision", "absent") == "absent"
    assert all(module._torchvision_available for module in tools.values())
