"""Shared test settings: shapes of every annotated function are checked at run time, in tests only."""

import os
from pathlib import Path

import flax.struct
import jax
import pytest
from jaxtyping import install_import_hook

_dataclass = flax.struct.dataclass


def _unchecked_dataclass(cls=None, **options):
    """Make a pytree dataclass whose fields are not checked: JAX rebuilds pytrees with placeholders as leaves."""
    if cls is None:
        return lambda cls: _unchecked_dataclass(cls, **options)
    cls = _dataclass(cls, **options)
    cls.__no_type_check__ = True
    return cls


flax.struct.dataclass = _unchecked_dataclass
install_import_hook(["kernels", "ff_jax"], "beartype.beartype")


def pytest_collection_modifyitems(items):
    """Skip `gpu` tests where JAX sees no GPU."""
    if jax.default_backend() == "gpu":
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))


@pytest.fixture(scope="session")
def assets() -> Path:
    """Return the folder with the real data sets, or skip: set FF_ASSETS to the folder that holds data/."""
    root = Path(os.environ.get("FF_ASSETS", Path(__file__).parents[1] / ".." / "shared")).resolve()
    if not (root / "data").is_dir():
        pytest.skip(f"no real data at {root}: set FF_ASSETS to the folder that holds data/")
    return root
