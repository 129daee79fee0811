"""Trained networks as fixers: those in the package, or in another file of `weights.save`."""

from importlib import import_module
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from ff_jax.fixers import weights
from ff_jax.fixers.fixer import Fixer


def load_fixer(name: str, path: str | Path | None = None, config: Any = None) -> Fixer:
    """Build a fixer from the float16 weights in a file.

    Args:
        name: "difix", "eigent" or "reference_unet".
        path: a file of `weights.save`; None takes the weights in the package.
        config: layout and use of the networks; None is `tiny()`, or another layout of `layouts()` that the file has.

    Raises:
        ValueError: the file is missing or damaged, or belongs to another layout.
    """
    # Imported here: diffusers takes seconds to import.
    package = f"ff_jax.fixers.{name}"
    fixer, model = import_module(f"{package}.fixer"), import_module(f"{package}.model")
    path = path or shipped_weights(name)
    config = config or _layout_of(path, import_module(f"{package}.config"), model)
    params = weights.load(path, model.shapes(config), f"fixer {name}")
    return fixer.fixer_from_params({"network": params, "gain": jnp.ones(())} if name != "eigent" else params, config)


def shipped_weights(name: str) -> Path:
    """Return the place of the weights in the package."""
    return Path(__file__).parent / name / "weights" / "tiny.safetensors"


def _layout_of(path: str | Path, configs: Any, model: Any) -> Any:
    """Find the layout that the weights in a file have; the first one if they have none of them."""
    layouts = getattr(configs, "layouts", lambda: (configs.tiny(),))()
    if len(layouts) == 1:
        return layouts[0]
    return next((layout for layout in layouts if weights.has_layout(path, model.shapes(layout))), layouts[0])
