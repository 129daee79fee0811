"""Color scalar maps: plain colors for videos and pages, and an EIG figure with a scale in nats."""

from pathlib import Path

import imageio.v3 as iio
import matplotlib
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Float, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLORS = "magma"  # of EIG maps; monotone in brightness
_DPI = 100


def eig_colormap(eig: Float[Array, "H W"] | Float[np.ndarray, "H W"], vmax: float) -> Float[np.ndarray, "H W 3"]:
    """Color an EIG map, colors in [0, 1]: 0 nats is dark, `vmax` nats and more are bright.

    Raises:
        ValueError: `vmax` is not positive.
    """
    if not vmax > 0:
        raise ValueError(f"invalid {vmax=}: expected a positive number of nats")
    level = np.clip(np.nan_to_num(np.asarray(eig, np.float32)) / vmax, 0, 1)
    return matplotlib.colormaps[COLORS](level)[..., :3].astype(np.float32)


def heatmap(values: Float[ArrayLike, "H W"], maximum: float | int) -> UInt8[np.ndarray, "H W 3"]:
    """Color a map with "inferno": 0 and less is black, `maximum` and more pale yellow."""
    scaled = np.asarray(values, np.float64) / max(maximum, 1e-12)
    return matplotlib.colormaps["inferno"](np.clip(np.nan_to_num(scaled), 0, 1), bytes=True)[..., :3]


def eig_figure(
    eig: Float[Array, "H W"] | Float[np.ndarray, "H W"],
    path: Path | None = None,
    *,
    vmax: float | None = None,
    render: Float[Array, "H W 3"] | Float[np.ndarray, "H W 3"] | None = None,
    title: str = "",
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw an EIG map with its scale in nats, next to its render.

    Args:
        eig: the map, nats.
        path: file to save the picture to (PNG or any other image suffix), or None.
        vmax: EIG at the bright end; None takes the 99.5 % quantile of the map. Fix it to compare maps.
        render: drawn on the left, colors in [0, 1].
        title: text above the map.

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
    image = axes[-1].imshow(eig, cmap=COLORS, vmin=0, vmax=vmax, interpolation="nearest")
    axes[-1].set_title(title or "expected information gain")
    for axis in axes:
        axis.set_axis_off()
    figure.colorbar(image, ax=axes[-1], extend="max", label="nats per pixel")
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    if path is not None:
        iio.imwrite(path, picture)
    return picture
