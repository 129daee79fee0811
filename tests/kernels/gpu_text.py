"""Programs lowered for a GPU; no GPU is needed."""

import contextlib
from collections.abc import Callable

import jax
from jax.sharding import AbstractDevice, AbstractMesh, AxisType


def text_for_gpus(function: Callable, *arguments: object) -> str:
    """Lower a function for a GPU and return the text of the program."""
    with _hopper():
        return jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()


def _hopper() -> contextlib.AbstractContextManager:
    """Build a context in which JAX lowers for an H100; only newer versions of JAX need one."""
    if jax.__version_info__ < (0, 11):
        return contextlib.nullcontext()
    device = AbstractDevice("NVIDIA H100 80GB HBM3", 132, "gpu")
    return jax.sharding.use_abstract_mesh(AbstractMesh((1,), ("x",), (AxisType.Auto,), abstract_device=device))
