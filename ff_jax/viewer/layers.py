"""What a view can be shown as: colour, depth, opacity, information gain, what is under-constrained; with scales."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from jax import Array
from jaxtyping import Float, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ff_jax.eig import eig_mask
from ff_jax.export.colormaps import COLORS
from ff_jax.fixers.reprojection import expected_depth
from ff_jax.scene.scene import SceneView

RGB, DEPTH, ALPHA, EIG, UCR = "RGB", "Depth", "Alpha", "EIG", "UCR mask"
LAYERS = (RGB, DEPTH, ALPHA, EIG, UCR)
NEED_EIG = (EIG, UCR)
_MAPS = {DEPTH: "viridis_r", ALPHA: "gray", EIG: COLORS}
_TINT = (1.0, 0.45, 0.0)  # of under-constrained pixels: rare in streets, and told from grey by everybody
_DPI = 100


@dataclasses.dataclass(frozen=True)
class Scales:
    """Which values the colours stand for.

    Attributes:
        eig: nats at the bright end.
        depth: metres at the dark end.
        tau: EIG from which a pixel is under-constrained, nats.
    """

    eig: float = 3.0
    depth: float = 60.0
    tau: float = 0.4


@functools.partial(jax.jit, static_argnames=("layer",))
def paint(
    layer: str,
    seen: SceneView,
    gain: Float[Array, "H W"] | None,
    scale: Float[Array, ""],
) -> UInt8[Array, "H W 3"]:
    """Return a rendered view as 8-bit colours of a layer.

    Args:
        layer: one of LAYERS.
        seen: the view.
        gain: its EIG map, nats; only layers of NEED_EIG use it.
        scale: value at the end of the colours (`scale_of`); the threshold for the UCR mask.
    """
    if layer in (RGB, UCR):
        rgb = jnp.clip(seen.rgb, 0.0, 1.0)
        mixed = rgb if layer == RGB else jnp.where(eig_mask(gain, scale)[..., None], _tinted(rgb), rgb)
        return jnp.round(mixed * 255).astype(jnp.uint8)
    values = {DEPTH: lambda: expected_depth(seen.depth, seen.alpha), ALPHA: lambda: seen.alpha, EIG: lambda: gain}
    colors = jnp.asarray(matplotlib.colormaps[_MAPS[layer]](np.arange(256), bytes=True)[:, :3])
    level = jnp.clip(jnp.nan_to_num(values[layer]()) / scale, 0.0, 1.0)
    return colors[jnp.round(level * 255).astype(jnp.int32)]


def _tinted(rgb: Float[Array, "H W 3"]) -> Float[Array, "H W 3"]:
    return 0.45 * rgb + 0.55 * jnp.array(_TINT)


def scale_of(layer: str, scales: Scales) -> float:
    """Return the value that `paint` needs for a layer."""
    return {DEPTH: scales.depth, EIG: scales.eig, UCR: scales.tau}.get(layer, 1.0)


def legend(layer: str, scales: Scales, width: int = 320) -> UInt8[np.ndarray, "h {width} 3"] | None:
    """Return the scale of a layer with numbers and unit as a white strip `width` pixels wide; None for RGB."""
    if layer == RGB:
        return None
    figure = Figure(figsize=(width / _DPI, 0.5), dpi=_DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    small = {"size": min(max(width / 34, 5.0), 9.0)}
    if layer == UCR:
        figure.add_artist(Rectangle((0.04, 0.3), 0.06, 0.4, color=_TINT))
        figure.text(0.13, 0.5, f"under-constrained: {scales.tau:g} nats or more", va="center", **small)
    else:
        _colorbar(figure, layer, scale_of(layer, scales), small["size"])
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _colorbar(figure: Figure, layer: str, scale: float, size: float) -> None:
    words = {DEPTH: "depth, metres", ALPHA: "accumulated opacity", EIG: "expected information gain, nats per pixel"}
    axis = figure.add_axes((0.06, 0.68, 0.8, 0.26))
    shades = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(0, scale), _MAPS[layer])
    bar = figure.colorbar(shades, cax=axis, orientation="horizontal", extend="neither" if layer == ALPHA else "max")
    bar.ax.tick_params(labelsize=size, pad=1, length=2)
    bar.ax.locator_params(nbins=6)
    figure.text(0.46, 0.04, words[layer], ha="center", size=size)


def captioned(picture: UInt8[np.ndarray, "H W 3"], layer: str, scales: Scales) -> UInt8[np.ndarray, "h W 3"]:
    """Return a picture with the scale of its layer below it, for pictures that leave the viewer."""
    strip = legend(layer, scales, picture.shape[1])
    return picture if strip is None else np.concatenate([picture, strip])
