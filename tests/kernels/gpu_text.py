"""Programs as they are for a GPU, which need not be there."""

import contextlib
from collections.abc import Callable

import jax
from jax.sharding import AbstractDevice, AbstractMesh, AxisType


def text_for_gpus(function: Callable, *arguments: object) -> str:
    """Return the program that a function is on a GPU, which need not be there."""
    with _hopper():
        return jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()


def _hopper() -> contextlib.AbstractContextManager:
    """Return a context in which JAX believes in an H100, where it needs to be told."""
    if jax.__version_info__ < (0, 11):
        return contextlib.nullcontext()
    device = AbstractDevice("NVIDIA H100 80GB HBM3", 132, "gpu")
    return jax.sharding.use_abstract_mesh(AbstractMesh((1,), ("x",), (AxisType.Auto,), abstract_device=device))
