"""Write results of a run: pictures, charts, pages, videos, tables and PLY files; names are imported at first use.

actor_sheet      index of the actors of a scene
colormaps        color EIG maps and other scalar maps (matplotlib)
figures          labeled image grids, and charts as images or SVG (matplotlib)
html             one-file results page (Jinja)
image_bytes      8-bit images, PNG, JPEG, data URLs
ply              Gaussians as PLY files
records          records that pages and figures draw
tables           tables as text, Markdown and LaTeX
video            MP4 files (ffmpeg)
"""

import importlib
from typing import Any

_MODULES = {
    "colormaps": ("eig_colormap", "eig_figure", "heatmap"),
    "figures": ("contact_sheet", "draw_curves", "eig_scale", "panel_sheet", "svg_chart"),
    "html": ("write_page",),
    "image_bytes": ("jpeg", "save_png", "to_uint8"),
    "ply": ("read_ply", "write_ply"),
    "records": ("Curve", "Drawing", "MetricsRow", "Panel", "Report", "Series", "metric_curves", "shift_name"),
    "tables": ("Table", "as_latex", "as_markdown", "as_text"),
    "video": ("VideoError", "write_mp4"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]  # names are resolved by __getattr__


def __getattr__(name: str) -> Any:
    """Import a public name at first use."""
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; see `ff_jax.export.__all__`.")


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
