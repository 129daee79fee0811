"""Repair rendered frames: one protocol (`Fixer`, `fix`), and fixers by name (`make_fixer`).

fixer, registry, identity   the protocol, fixers by name, and the fixer that changes nothing
difix, eigent, self_fit     one-step image diffusion, video diffusion, and a network fitted on the log itself
reprojection, blending      references brought into a rendered view; a repair blended into a render by EIG
attention, tiling, model_size, weights   shared by the networks
pair_files, training, convert            training data, training, and weights of published PyTorch networks

Importing this package imports no network: diffusers takes seconds.
"""

import importlib
from typing import Any

_HOMES = {
    "Fixer": "ff_jax.fixers.fixer",
    "fix": "ff_jax.fixers.fixer",
    "fixer_names": "ff_jax.fixers.registry",
    "make_fixer": "ff_jax.fixers.registry",
}
__all__ = ["Fixer", "fix", "fixer_names", "make_fixer"]  # pyright: ignore[reportUnsupportedDunderAll]: they are lazy


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
