"""Public entry points of the Fisher kernels."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import ArrayLike, Float

from kernels.bin_tiles.types import Bins, TileGrid
from kernels.common.implementation import choose_implementation
from kernels.fisher import reference, xla
from kernels.fisher.eig import MODES
from kernels.fisher.footprint_jacobian import PACKED_GEOMETRY, footprint_jacobian
from kernels.fisher.pallas_gpu import FisherKernels
from kernels.fisher.types import Uncertainty, ViewGeometry
from kernels.project.types import Projected

_MODULES = {"reference": reference, "xla": xla, "pallas": FisherKernels("pallas"), "mosaic": FisherKernels("mosaic")}


def fisher_information(
    projected: Projected,
    features: Float[Array, "N C"],
    bins: Bins,
    image: Float[Array, "H W 3"],
    weight: Float[Array, "H W"],
    jacobian: Float[Array, "N 6 p"] | ViewGeometry | None = None,
    add_to: tuple[Float[Array, "N packed"], Float[ArrayLike, ""]] | None = None,
    *,
    implementation: str | None = None,
) -> tuple[Float[Array, "N packed"], Float[Array, "N"]]:
    """Accumulate, per Gaussian, the Fisher information of one view on its footprint and on its color.

    With C = sum_i w_i c_i + (1 - alpha) background the color of pixel p, and per pair

        v = d alpha_i / d (mean2d, conic, log opacity)
        a = d C / d alpha_i = T_i c_i - behind_i / (1 - alpha_i)

    the Jacobian of C is a v^T with respect to the footprint, w_i I with respect to the color. The results are

        S = sum_p weight_p |a|^2 v v^T        and        w2 = sum_p weight_p w_i^2.

    The color behind a Gaussian is the image minus the color accumulated up to it, so one walk front to back is
    enough. Not differentiable.

    With `jacobian` J_i = d footprint / d (other parameters), S is that of v^T J_i instead. Do not multiply
    J_i^T S J_i afterwards: for long thin footprints it cancels beyond float32.

    Args:
        projected: N Gaussians; opacity 0 means culled. Depth, extent and color are not read.
        features: as blended; the first three are the color. Further ones change no result: with the rendered
            features, one program shares the forward walk with the render.
        bins: tile lists of the same Gaussians, from `kernels.bin_tiles`.
        image: the composite of exactly these Gaussians, background included.
        weight: per pixel, 1 / variance of one observed channel; 0 where nothing was observed.
        jacobian: d (mean2d, conic, log opacity) / d (parameters of interest); a `ViewGeometry` for the Jacobian of
            the same Gaussians with respect to their geometry; None for the footprint itself.
        add_to: (total, sign); the first result is then total + sign S.
        implementation: None, "reference", "xla", "pallas" or "mosaic".

    Returns:
        S (or total + sign S) as row-major upper triangles (21 numbers without `jacobian`), and w2.

    Raises:
        ValueError: for an unknown implementation, or an image of another size than the bins.
    """
    name = _implementation(implementation, projected)
    _check_sizes(bins.grid, image=image, weight=weight)
    projected, features, image, weight, jacobian, add_to = _constant(
        (projected, features, image, weight, jacobian, add_to)
    )
    if isinstance(jacobian, ViewGeometry) and name == "pallas":
        add_to = add_to or (jnp.zeros((projected.depth.shape[0], PACKED_GEOMETRY)), 1.0)
        return FisherKernels().fisher_information(projected, features, bins, image, weight, jacobian, add_to)
    jacobian = footprint_jacobian(jacobian) if isinstance(jacobian, ViewGeometry) else jacobian
    S, w2 = _MODULES[name].fisher_information(projected, features, bins, image, weight, jacobian)
    if add_to is None:
        return S, w2
    total, sign = add_to
    return total + sign * S, w2


def eig_map(
    projected: Projected,
    features: Float[Array, "N C"],
    bins: Bins,
    image: Float[Array, "H W 3"],
    alpha: Float[Array, "H W"],
    uncertainty: Uncertainty,
    *,
    mode: str = "exact",
    implementation: str | None = None,
) -> Float[Array, "H W"]:
    """Compute the expected information gain (nats) of observing each pixel of a rendered view.

    With a, v, w as in `fisher_information`, the color of a pixel has covariance

        M = sum_i [ |v^T F_i|^2 a a^T + w_i^2 color_var_i I ] + (1 - alpha)^2 background_var I

    and the EIG is log det(I + M / noise_var) / 2 ("exact") or its upper bound tr(M) / (2 noise_var)
    ("trace"). Not differentiable. The covariance F_i F_i^T of a footprint is never formed: for long thin
    footprints v^T F_i F_i^T v cancels beyond float32.

    Args:
        projected: N Gaussians; opacity 0 means culled. Depth, extent and color are not read.
        features: as blended; the first three are the color. Further ones change no result: with the rendered
            features, one program shares the forward walk with the render.
        bins: tile lists of the same Gaussians, from `kernels.bin_tiles`.
        image: the composite of exactly these Gaussians, background included.
        alpha: its accumulated opacity.
        uncertainty: factors F_i and variances.
        mode: "exact" or "trace".
        implementation: None, "reference", "xla", "pallas" or "mosaic".

    Raises:
        ValueError: for an unknown implementation or mode, or an image of another size than the bins.
    """
    name = _implementation(implementation, projected)
    if mode not in MODES:
        raise ValueError(f"invalid {mode=}: expected one of {MODES}")
    _check_sizes(bins.grid, image=image, alpha=alpha)
    if isinstance(uncertainty.footprint, tuple) and name != "pallas":
        geometry, factor = uncertainty.footprint
        factor = jnp.einsum("nki,nij->nkj", footprint_jacobian(geometry), factor, precision="highest")
        uncertainty = uncertainty._replace(footprint=factor)
    projected, features, image, alpha, uncertainty = _constant((projected, features, image, alpha, uncertainty))
    return _MODULES[name].eig_map(projected, features, bins, image, alpha, uncertainty, mode=mode)


def _constant(tree: Any) -> Any:
    """Make arrays constant under differentiation; Python numbers do not change."""
    return jax.tree.map(lambda x: lax.stop_gradient(x) if isinstance(x, (Array, np.ndarray)) else x, tree)


def _implementation(name: str | None, projected: Projected) -> str:
    """Choose the implementation; without any Gaussian, only the dense form works."""
    name = choose_implementation(name)
    return name if projected.depth.shape[0] else "reference"


def _check_sizes(grid: TileGrid, **maps: Float[Array, "..."]) -> None:
    """Raise ValueError unless every map has the size of the image of the bins."""
    for name, array in maps.items():
        if array.shape[:2] != (grid.height, grid.width):
            raise ValueError(
                f"{name} has shape {array.shape}, but bins have height={grid.height} and width={grid.width}: "
                f"use the same camera for both"
            )
