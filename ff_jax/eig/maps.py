"""EIG maps (nats per pixel), and the weights, masks and regions that follow from them.

For a pixel of a view that was not observed (Lindley 1956, doi 10.1214/aoms/1177728069, for a linear Gaussian model)

    EIG = log det(I + J Sigma J^T / noise^2) / 2   <=   tr(J Sigma J^T) / (2 noise^2).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jaxtyping import ArrayLike, Bool, Float

from ff_jax.eig import background
from ff_jax.eig.information import color_sensitivity, view_geometry
from ff_jax.eig.posterior import Posterior
from ff_jax.render.renderer import RenderInput, bin_gaussians, blended, project_gaussians
from kernels import Uncertainty, ViewGeometry
from kernels import eig_map as eig_map_of_projected

AnyArray = Array | np.ndarray


def eig_map(
    posterior: Posterior,
    inputs: RenderInput,
    image: Float[Array, "H W 3"],
    alpha: Float[Array, "H W"],
    *,
    noise: Float[ArrayLike, "*map"],
    mode: str = "exact",
) -> Float[Array, "H W"]:
    """Compute the expected information gain (nats) of every pixel of a view that was not observed.

    Args:
        posterior: of the Gaussians of `inputs`.
        inputs: Gaussians at the time of the view, its camera, and the settings of the render.
        image: render of `inputs`, background included, before exposure.
        alpha: its accumulated opacity.
        noise: standard deviation of one observed channel; one number, or one per pixel.
        mode: "exact", or "trace" for the upper bound.
    """
    camera, settings = inputs.camera, inputs.settings
    splats = project_gaussians(inputs)
    Y = color_sensitivity(inputs, splats)
    of_color = jnp.sum(Y[:, :, None] * posterior.color, 1)
    geometry = view_geometry(inputs)
    if isinstance(geometry, ViewGeometry):
        footprint = geometry, posterior.geometry
    else:
        footprint = jnp.einsum("nki,nij->nkj", geometry, posterior.geometry, precision="highest")
    uncertainty = Uncertainty(
        footprint,
        jnp.sum(of_color**2, -1),
        jnp.square(noise),
        jnp.square(background.look_up(posterior.background, camera)),
    )
    return eig_map_of_projected(
        splats,
        blended(splats),
        bin_gaussians(splats, camera, settings),
        image,
        alpha,
        uncertainty,
        mode=mode,
        implementation=settings.implementation,
    )


def eig_weight(eig: Float[Array, "*n"], kappa: Float[ArrayLike, ""]) -> Float[Array, "*n"]:
    """Convert EIG to a weight in [0, 1): 1 - exp(-eig / kappa), with `kappa` in nats."""
    return -jnp.expm1(-eig / kappa)


def eig_mask(eig: Float[AnyArray, "*n"], tau: Float[ArrayLike, ""] | float) -> Bool[AnyArray, "*n"]:
    """Select the pixels with at least `tau` nats: the under-constrained region (UCR)."""
    return eig >= tau


class Regions(NamedTuple):
    """The two regions of a view."""

    ucr: Bool[AnyArray, "*n"]  # under-constrained
    hpr: Bool[AnyArray, "*n"]  # well-determined ("high precision")


def split_regions(eig: Float[AnyArray, "*n"], tau: Float[ArrayLike, ""] | float) -> Regions:
    """Split pixels at `tau` nats into the under-constrained (UCR) and the well-determined region (HPR).

    Raises:
        ValueError: the map has NaN, or the threshold is NaN (not checked under jit).
    """
    if not isinstance(eig, Tracer) and (np.isnan(eig).any() or np.isnan(tau)):
        raise ValueError(f"{tau=}, {np.isnan(eig).sum()} pixels of the EIG map are NaN: expected numbers in nats.")
    ucr = eig_mask(eig, tau)
    return Regions(ucr, ~ucr)
