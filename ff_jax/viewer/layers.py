"""The layers of a view as images: color, depth, opacity, EIG and the UCR mask, with legends."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from jax import Array
from jaxtyping import Float, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ff_jax.eig import TAU, eig_mask
from ff_jax.export.colormaps import COLORS
from ff_jax.render.renderer import expected_depth
from ff_jax.scene import RenderedScene

RGB, DEPTH, ALPHA, EIG, UCR = "RGB", "Depth", "Alpha", "EIG", "UCR mask"
LAYERS = (RGB, DEPTH, ALPHA, EIG, UCR)
EIG_LAYERS = (EIG, UCR)  # layers that need the posterior
_COLORMAPS = {DEPTH: "viridis_r", ALPHA: "gray", EIG: COLORS}
_TINT = (1.0, 0.45, 0.0)  # of under-constrained pixels: rare in streets, and not confused in any color blindness
_DPI = 100


@dataclasses.dataclass(frozen=True)
class Scales:
    """The values at the ends of the color scales.

    Attributes:
        eig: nats at the bright end.
        depth: meters at the dark end.
        tau: pixels with at least this EIG are under-constrained, nats.
        unit: of depths: "m", or "units" where the meter is unknown.
    """

    eig: float = 3.0
    depth: float = 60.0
    tau: float = TAU
    unit: str = "m"


@functools.partial(jax.jit, static_argnames=("layer",))
def colorize(
    layer: str,
    rendered: RenderedScene,
    eig: Float[Array, "H W"] | None,
    scale: Float[Array, ""],
) -> UInt8[Array, "H W 3"]:
    """Convert a rendered view to the 8-bit image of a layer.

    Args:
        layer: one of LAYERS.
        rendered: the view.
        eig: its EIG map, nats; used by EIG_LAYERS only.
        scale: value at the end of the colors (`scale_of`); the threshold for the UCR mask.
    """
    nats = jnp.zeros_like(rendered.alpha) if eig is None else eig
    if layer in (RGB, UCR):
        rgb = jnp.clip(rendered.rgb, 0.0, 1.0)
        if layer == UCR:
            rgb = jnp.where(eig_mask(nats, scale)[..., None], 0.45 * rgb + 0.55 * jnp.array(_TINT), rgb)
        return jnp.round(rgb * 255).astype(jnp.uint8)
    if layer == DEPTH:
        values = expected_depth(rendered.depth, rendered.alpha)
    else:
        values = rendered.alpha if layer == ALPHA else nats
    colors = jnp.asarray(matplotlib.colormaps[_COLORMAPS[layer]](np.arange(256), bytes=True)[:, :3])
    level = jnp.clip(jnp.nan_to_num(values) / scale, 0.0, 1.0)
    return colors[jnp.round(level * 255).astype(jnp.int32)]


def scale_of(layer: str, scales: Scales) -> float:
    """Select the scale that `colorize` needs for a layer."""
    return {DEPTH: scales.depth, EIG: scales.eig, UCR: scales.tau}.get(layer, 1.0)


def legend(layer: str, scales: Scales, width: int = 320) -> UInt8[np.ndarray, "h {width} 3"] | None:
    """Draw the legend of a layer with numbers and unit, as a white strip `width` pixels wide; None for RGB."""
    if layer == RGB:
        return None
    figure = Figure(figsize=(width / _DPI, 0.5), dpi=_DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    size = min(max(width / 34, 5.0), 9.0)
    if layer == UCR:
        figure.add_artist(Rectangle((0.04, 0.3), 0.06, 0.4, color=_TINT))
        figure.text(0.13, 0.5, f"under-constrained: {scales.tau:g} nats or more", va="center", size=size)
    else:
        _draw_colorbar(figure, layer, scales, size)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_colorbar(figure: Figure, layer: str, scales: Scales, size: float) -> None:
    depth = "depth, meters" if scales.unit == "m" else f"depth, {scales.unit}"
    labels = {DEPTH: depth, ALPHA: "accumulated opacity", EIG: "expected information gain, nats per pixel"}
    axes = figure.add_axes((0.06, 0.68, 0.8, 0.26))
    colors = ScalarMappable(Normalize(0, scale_of(layer, scales)), _COLORMAPS[layer])
    bar = figure.colorbar(colors, cax=axes, orientation="horizontal", extend="neither" if layer == ALPHA else "max")
    bar.ax.tick_params(labelsize=size, pad=1, length=2)
    bar.ax.locator_params(nbins=6)
    figure.text(0.46, 0.04, labels[layer], ha="center", size=size)


def with_legend(image: UInt8[np.ndarray, "H W 3"], layer: str, scales: Scales) -> UInt8[np.ndarray, "h W 3"]:
    """Append the legend of a layer below its image, for images that are saved."""
    strip = legend(layer, scales, image.shape[1])
    return image if strip is None else np.concatenate([image, strip])
