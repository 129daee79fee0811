"""Pictures of information gain maps: plain colours for videos, and a figure with a scale in nats."""

from pathlib import Path

import imageio.v3 as iio
import matplotlib
import numpy as np
from jax import Array
from jaxtyping import Float, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLORS = "magma"  # dark is known, bright is not; even in brightness, also in grey
_DPI = 100


def eig_colormap(eig: Float[Array, "H W"] | Float[np.ndarray, "H W"], vmax: float) -> Float[np.ndarray, "H W 3"]:
    """Return a map as colours in [0, 1]: 0 nats dark, `vmax` nats and more bright.

    Raises:
        ValueError: if `vmax` is not positive.
    """
    if not vmax > 0:
        raise ValueError(f"{vmax=} must be a positive number of nats")
    level = np.clip(np.nan_to_num(np.asarray(eig, np.float32)) / vmax, 0, 1)
    return matplotlib.colormaps[COLORS](level)[..., :3].astype(np.float32)


def eig_figure(
    eig: Float[Array, "H W"] | Float[np.ndarray, "H W"],
    path: Path | None = None,
    *,
    vmax: float | None = None,
    render: Float[Array, "H W 3"] | Float[np.ndarray, "H W 3"] | None = None,
    title: str = "",
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a map with its scale in nats, next to the render it belongs to.

    Args:
        eig: the map, nats.
        path: where to save the picture (PNG or any other image suffix), or None.
        vmax: gain at the bright end; None takes the 99.5 % quantile of the map. Fix it to compare maps.
        render: shown on the left, colours in [0, 1].
        title: above the map.

    Returns:
        The picture as 8-bit RGB.
    """
    eig = np.asarray(eig)
    if vmax is None:
        vmax = max(float(np.nanquantile(eig, 0.995)), 1e-6)
    panels = 1 if render is None else 2
    height = 4.0
    width = height * eig.shape[1] / eig.shape[0] * panels + 1.2
    figure = Figure(figsize=(width, height + 0.3), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    if render is not None:
        axes[0].imshow(np.clip(np.asarray(render), 0, 1), interpolation="nearest")
        axes[0].set_title("render")
    shown = axes[-1].imshow(eig, cmap=COLORS, vmin=0, vmax=vmax, interpolation="nearest")
    axes[-1].set_title(title or "expected information gain")
    for axis in axes:
        axis.set_axis_off()
    figure.colorbar(shown, ax=axes[-1], extend="max", label="nats per pixel")
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    if path is not None:
        iio.imwrite(path, picture)
    return picture
