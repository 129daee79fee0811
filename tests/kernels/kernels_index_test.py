"""The index of the kernels: functions hide the subpackages of the same names, whose modules can still be imported."""

import importlib
import types

import pytest

import kernels


def test_the_index_exports_its_names():
    assert sorted(kernels.__all__, key=str.lower) == sorted(set(kernels.__all__), key=str.lower)
    for name in kernels.__all__:
        assert not isinstance(getattr(kernels, name), types.ModuleType), name


@pytest.mark.parametrize("name", ["project", "bin_tiles", "rasterize", "ssim"])
def test_names_shared_by_a_function_and_a_subpackage(name):
    import kernels.project.reference

    module = importlib.import_module(f"kernels.{name}.reference")
    package = importlib.import_module(f"kernels.{name}")
    assert module is package.reference and isinstance(module, types.ModuleType)
    assert callable(getattr(kernels, name)) and getattr(kernels, name) is getattr(package, name)
