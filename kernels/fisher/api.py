"""Public entry points of the Fisher kernels."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import ArrayLike, Float

from kernels.bin_tiles import Bins, tile_grid
from kernels.common.implementation import choose
from kernels.fisher import pallas_gpu, reference, xla
from kernels.fisher.footprint_jacobian import PACKED, Geometry
from kernels.fisher.footprint_jacobian import jacobian as geometry_jacobian
from kernels.fisher.information_gain import MODES

_RUN = {"reference": reference, "xla": xla, "pallas": pallas_gpu, "mosaic": pallas_gpu}


def accumulate(
    mean2d: Float[Array, "N 2"],
    conic: Float[Array, "N 3"],
    opacity: Float[Array, "N"],
    features: Float[Array, "N C"],
    bins: Bins,
    image: Float[Array, "H W 3"],
    weight: Float[Array, "H W"],
    jacobian: Float[Array, "N 6 p"] | Geometry | None = None,
    onto: Float[Array, "N packed"] | None = None,
    *,
    sign: Float[ArrayLike, ""] = 1.0,
    width: int,
    height: int,
    tile: int = 16,
    implementation: str | None = None,
) -> tuple[Float[Array, "N packed"], Float[Array, "N"]]:
    """Sum, per Gaussian, what one view tells about its footprint and about its colour.

    With C = sum_i w_i c_i + (1 - alpha) background the colour of pixel p, and per pair

        v = d alpha_i / d (mean2d, conic, log opacity)
        a = d C / d alpha_i = T_i c_i - behind_i / (1 - alpha_i)

    the Jacobian of C is a v^T with respect to the footprint, w_i I with respect to the colour. Returned are

        S = sum_p weight_p |a|^2 v v^T        and        w2 = sum_p weight_p w_i^2.

    What lies behind a Gaussian is the image minus what was accumulated up to it, so one walk front to back is
    enough. Not differentiable.

    With `jacobian` J_i = d footprint / d (other parameters), S is that of v^T J_i instead. Do not multiply
    J_i^T S J_i afterwards: for long thin footprints it cancels beyond float32.

    Args:
        mean2d: px.
        conic: inverse 2-D covariance (a, b, c), 1/px^2.
        opacity: [0, 1), 0 when culled.
        features: as blended; the first three are the colour. Further ones change nothing: with those that were
            rendered, one program walks the lists once for both.
        bins: from `bin_tiles` with the same width, height and tile.
        image: the composite of exactly these Gaussians, background included.
        weight: per pixel, 1 / variance of one observed channel; 0 where nothing was observed.
        jacobian: d (mean2d, conic, log opacity) / d (parameters to report on); a `Geometry` for the Jacobian of the
            same Gaussians with respect to their geometry; None for the footprint itself.
        onto: what S is added to; None for nothing.
        sign: what S is multiplied by before.
        width: pixels.
        height: pixels.
        tile: side of a tile, pixels.
        implementation: None, "reference", "xla", "pallas" or "mosaic".

    Returns:
        onto + sign S as the row-major upper triangle (21 numbers without `jacobian`), and w2.

    Raises:
        ValueError: for an unknown implementation, or an image or bins of another size.
    """
    name = _implementation(implementation, opacity.shape[0])
    _check(bins, width, height, tile, image=image, weight=weight)
    arrays = [lax.stop_gradient(x) for x in (mean2d, conic, opacity, features)]
    arrays += [bins, *(lax.stop_gradient(x) for x in (image, weight))]
    if isinstance(jacobian, Geometry) and name == "pallas":
        onto = jnp.zeros((opacity.shape[0], PACKED)) if onto is None else onto
        held = jax.tree.map(_held, (jacobian, onto, jnp.asarray(sign)))
        return pallas_gpu.accumulate(*arrays, *held, tile=tile)
    jacobian = geometry_jacobian(jacobian) if isinstance(jacobian, Geometry) else jacobian
    S, w2 = _RUN[name].accumulate(*arrays, jax.tree.map(_held, jacobian), tile=tile, **_backend(name))
    return sign * S if onto is None else onto + sign * S, w2


def eig_map(
    mean2d: Float[Array, "N 2"],
    conic: Float[Array, "N 3"],
    opacity: Float[Array, "N"],
    features: Float[Array, "N C"],
    bins: Bins,
    image: Float[Array, "H W 3"],
    alpha: Float[Array, "H W"],
    factor: Float[Array, "N 6 r"] | tuple[Geometry, Float[Array, "N 10 10"]],
    q: Float[Array, "N"],
    noise_var: Float[ArrayLike, ""],
    background_var: Float[ArrayLike, "*map"],
    *,
    mode: str = "exact",
    width: int,
    height: int,
    tile: int = 16,
    implementation: str | None = None,
) -> Float[Array, "H W"]:
    """Return the expected information gain (nats) of observing each pixel of a rendered view.

    With a, v, w as in `accumulate`, the colour of a pixel has covariance

        M = sum_i [ |v^T F_i|^2 a a^T + w_i^2 q_i I ] + (1 - alpha)^2 background_var I

    and the gain is log det(I + M / noise_var) / 2 ("exact") or its upper bound tr(M) / (2 noise_var)
    ("trace"). Not differentiable. The covariance F_i F_i^T of a footprint is never formed: for long thin
    footprints v^T F_i F_i^T v cancels beyond float32.

    Args:
        mean2d: px.
        conic: inverse 2-D covariance (a, b, c), 1/px^2.
        opacity: [0, 1), 0 when culled.
        features: as blended; the first three are the colour. Further ones change nothing: with those that were
            rendered, one program walks the lists once for both.
        bins: from `bin_tiles` with the same width, height and tile.
        image: the composite of exactly these Gaussians, background included.
        alpha: its accumulated opacity.
        factor: F_i, any with F_i F_i^T = posterior covariance of (mean2d, conic, log opacity); or the `Geometry` of the
            same Gaussians and upper triangular factors of the posterior covariance of that.
        q: posterior variance of one colour channel.
        noise_var: variance of one observed colour channel.
        background_var: variance of one channel of the background colour; one number, or one per pixel.
        mode: "exact" or "trace".
        width: pixels.
        height: pixels.
        tile: side of a tile, pixels.
        implementation: None, "reference", "xla", "pallas" or "mosaic".

    Raises:
        ValueError: for an unknown implementation or mode, or an image or bins of another size.
    """
    name = _implementation(implementation, opacity.shape[0])
    if mode not in MODES:
        raise ValueError(f"{mode=} is unknown: use one of {MODES}")
    _check(bins, width, height, tile, image=image, alpha=alpha)
    if isinstance(factor, tuple) and name != "pallas":
        factor = jnp.einsum("nki,nij->nkj", geometry_jacobian(factor[0]), factor[1], precision="highest")
    inputs = [jax.tree.map(_held, x) for x in (image, alpha, factor, q, noise_var, background_var)]
    splats = [lax.stop_gradient(x) for x in (mean2d, conic, opacity, features)]
    return _RUN[name].eig_map(*splats, bins, *inputs, mode=mode, tile=tile, **_backend(name))


def _held(x: ArrayLike) -> ArrayLike:
    """Return an array as a constant for differentiation; numbers known before compilation stay as they are."""
    return lax.stop_gradient(x) if isinstance(x, (Array, np.ndarray)) else x


def _implementation(name: str | None, count: int) -> str:
    """Return what runs; walks need a Gaussian to look at, the dense form does not."""
    name = choose(name)
    return name if count else "reference"


def _backend(name: str) -> dict[str, str]:
    """Return what the kernels are told beside the arrays: there are two compilers for them."""
    return {"implementation": name} if name in ("pallas", "mosaic") else {}


def _check(bins: Bins, width: int, height: int, tile: int, **maps: Float[Array, "..."]) -> None:
    """Raise ValueError unless every map is height x width and the bins have that many tiles."""
    for name, array in maps.items():
        if array.shape[:2] != (height, width):
            raise ValueError(f"{name} has shape {array.shape}, but {height=} and {width=}: use one camera")
    columns, rows = tile_grid(width, height, tile)
    if bins.tile_starts.shape[0] != columns * rows + 1:
        raise ValueError(
            f"bins list {bins.tile_starts.shape[0] - 1} tiles, but {width}x{height} px at {tile=} need "
            f"{columns * rows}: bin with the same width, height and tile"
        )
