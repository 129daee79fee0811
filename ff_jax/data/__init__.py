"""Driving logs: scene data and its folder form, readers of public formats, loading, and initial points."""

from typing import TYPE_CHECKING

from ff_jax.data.folder import read_folder, write_folder
from ff_jax.data.lazy_arrays import EncodedImage, ImageFile, MaskFile, PointFile, Source
from ff_jax.data.scene_data import Box, Frame, Lane, LidarSweep, SceneData, hold_out, select
from ff_jax.data.validate import validate

if TYPE_CHECKING:
    from ff_jax.data.open import open_log

__all__ = [
    "Box",
    "EncodedImage",
    "Frame",
    "ImageFile",
    "Lane",
    "LidarSweep",
    "MaskFile",
    "PointFile",
    "SceneData",
    "Source",
    "hold_out",
    "open_log",
    "read_folder",
    "select",
    "validate",
    "write_folder",
]


def __getattr__(name: str) -> object:
    """Import `open_log` on first use: it needs JAX and all readers."""
    if name == "open_log":
        from ff_jax.data.open import open_log

        return open_log
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
