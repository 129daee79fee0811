"""Pixel-wise expected information gain (EIG, nats) from a block posterior over the Gaussians.

The posterior is a Laplace approximation with one block per Gaussian for its geometry and one for its colour:

    precision = prior + sum over observed pixels of J^T J / noise^2,       J = d pixel colour / d parameters,

and for a pixel of any other view (Lindley 1956, doi 10.1214/aoms/1177728069, for a linear Gaussian model)

    EIG = log det(I + J Sigma J^T / noise^2) / 2   <=   tr(J Sigma J^T) / (2 noise^2).

A Gaussian's geometry reaches a pixel only through its footprint (mean2d, conic, log opacity): J = a v^T L with
v and a from `kernels.fisher` and L = d footprint / d geometry, one 6 x 10 matrix per Gaussian and view.

Geometry is perturbed in the Gaussian's own axes (`perturb`): mean 3 [m], rotation vector 3 [rad], log-scale 3,
logit-opacity 1. A block therefore stays valid when a rigid actor carries its Gaussians along. Exposure and
camera corrections are taken as known. What shows where opacity is missing has a posterior too (`backdrop`).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jaxtyping import ArrayLike, Bool, Float, Int

from ff_jax.eig import background as backdrop
from ff_jax.eig.block_posterior import diagonal_factors, posterior_factors
from ff_jax.render.camera import Camera
from ff_jax.render.gaussians import Gaussians, opacities
from ff_jax.render.renderer import RenderSettings, bin_gaussians, blended, project_gaussians
from ff_jax.render.rigid import quats_to_matrices
from kernels import fisher
from kernels.fisher.information_gain import pack
from kernels.project import Projected, sh_basis
from kernels.project.reference import Options, view_directions
from kernels.project.spherical_harmonics import BAND_OF

GEOMETRY = 10  # parameters of a geometry block
STRUCTURES = ("block", "diag")


@struct.dataclass
class Precision:
    """What the observed views say about every Gaussian: packed upper triangles, row-major, 0 at first."""

    geometry: Float[Array, "N 55"]  # mean 3 [1/m], rotation 3 [1/rad], log-scale 3, logit-opacity 1
    color: Float[Array, "N packed"]  # K x K over spherical harmonics, the same for each of the three channels
    background: Float[Array, "cells"]  # by direction, see `backdrop`


@dataclasses.dataclass(frozen=True)
class Priors:
    """Standard deviations of what is believed before any view was seen (hashable: a static argument)."""

    position: float = 1.0  # in units of `spacing`, per axis
    rotation: float = 0.3  # rad
    log_scale: float = 0.5
    logit_opacity: float = 1.0
    color: float = 0.3  # of the part of the colour that does not depend on the direction
    view_color: float = 0.1  # of what each higher band of spherical harmonics adds to it
    background: float = 0.3  # colour of what shows where opacity is missing, per direction
    misfit: float = 24.0  # most views over which what a scene misses at a training pixel repeats (`misfit`)


@struct.dataclass
class Posterior:
    """Covariance of every block as a factor F: Sigma = F F^T."""

    geometry: Float[Array, "N 10 10"]  # upper triangular, as the colour's
    color: Float[Array, "N K K"]
    background: Float[Array, "cells"]  # standard deviation of one channel, by direction


def init_precision(gaussians: Gaussians) -> Precision:
    """Return the precision before the first view."""
    count, coefficients, _ = gaussians.sh.shape
    packed = coefficients * (coefficients + 1) // 2
    geometry = jnp.zeros((count, GEOMETRY * (GEOMETRY + 1) // 2))
    return Precision(geometry, jnp.zeros((count, packed)), jnp.zeros(backdrop.CELLS))


def perturb(gaussians: Gaussians, delta: Float[Array, "N 10"]) -> Gaussians:
    """Move Gaussians by a small `delta`: metres and radians in their own axes, log-scale, logit-opacity."""
    w, x, y, z = gaussians.quats.T
    i, j, k = 0.5 * delta[:, 3:6].T
    turned = [-x * i - y * j - z * k, w * i + y * k - z * j, w * j + z * i - x * k, w * k + x * j - y * i]
    axes = jax.lax.stop_gradient(quats_to_matrices(gaussians.quats))
    return gaussians.replace(
        means=gaussians.means + jnp.einsum("nij,nj->ni", axes, delta[:, :3], precision="highest"),
        quats=gaussians.quats + jnp.stack(turned, -1),
        log_scales=gaussians.log_scales + delta[:, 6:9],
        logit_opacities=gaussians.logit_opacities + delta[:, 9],
    )


def color_sensitivity(
    gaussians: Gaussians,
    projected: Projected,
    camera: Camera,
    sh_degree: int | Int[Array, ""] = 3,
    axes: Float[Array, "N 3 3"] | None = None,
) -> Float[Array, "N K"]:
    """Return d colour channel / d coefficients, root mean square over the channels; 0 for what is not seen.

    `axes` are those of the frames that colours are stored in (columns, world); None takes the world's.
    """
    coefficients = gaussians.sh.shape[1]
    directions = view_directions(gaussians.means, camera.camera_from_world)
    if axes is not None:
        directions = jnp.einsum("nij,ni->nj", axes, directions, precision="highest")
    Y = sh_basis(directions, coefficients)
    Y *= jnp.array(BAND_OF[:coefficients]) <= sh_degree
    # A channel cut off at 0 does not answer to its coefficients.
    Y *= jnp.sqrt(jnp.mean(projected.color > 0, -1, keepdims=True))
    return jnp.where((projected.opacity > 0)[:, None], Y, 0.0)


def geometry_in(
    gaussians: Gaussians, alive: Bool[Array, "N"], camera: Camera, settings: RenderSettings
) -> fisher.Geometry:
    """Return what the footprints of a view are differentiated with respect to."""
    return fisher.Geometry(
        gaussians.means,
        gaussians.quats,
        jnp.exp(gaussians.log_scales),
        opacities(gaussians, alive),
        camera.camera_from_world,
        camera.K,
        Options(camera.width, camera.height, settings.antialiased, settings.near, settings.eps2d),
    )


def accumulate(
    precision: Precision,
    gaussians: Gaussians,
    alive: Bool[Array, "N"],
    camera: Camera,
    image: Float[Array, "H W 3"],
    settings: RenderSettings,
    *,
    noise: Float[ArrayLike, ""],
    alpha: Float[Array, "H W"] | None = None,
    weight: Float[Array, "H W"] | None = None,
    sign: Float[ArrayLike, ""] = 1.0,
    sh_degree: int | Int[Array, ""] = 3,
    axes: Float[Array, "N 3 3"] | None = None,
) -> Precision:
    """Add what one view tells about every Gaussian, or take it away again.

    Args:
        precision: what is known so far.
        gaussians: in the world frame at the time of the view.
        alive: slots in use.
        camera: of the view.
        image: the view as rendered from these Gaussians, background included, before exposure.
        settings: those of the render.
        noise: standard deviation of one observed channel.
        alpha: accumulated opacity of the render; None says nothing about the background.
        weight: per pixel (in [0, 1] where `alpha` is given), multiplies the information; 0 where the view says
            nothing about this scene.
        sign: +1 adds, -1 removes a view that was added with the same arguments.
        sh_degree: highest band rendered.
        axes: of the frames that colours are stored in (columns, world); None takes the world's.
    """
    information = jnp.ones(image.shape[:2]) if weight is None else weight
    splats = project_gaussians(gaussians, alive, camera, settings, sh_degree)
    Y = color_sensitivity(gaussians, splats, camera, sh_degree, axes)
    geometry, w2 = fisher.accumulate(
        splats.mean2d,
        splats.conic,
        splats.opacity,
        blended(splats),
        bin_gaussians(splats, camera, settings),
        image,
        information / jnp.square(noise),
        geometry_in(gaussians, alive, camera, settings),
        precision.geometry,
        sign=sign,
        width=camera.width,
        height=camera.height,
        tile=settings.tile_size,
        implementation=settings.implementation,
    )
    color = pack(w2[:, None, None] * Y[:, :, None] * Y[:, None, :])
    background = precision.background
    if alpha is not None:
        background = background + sign * backdrop.information(camera, alpha, information) / jnp.square(noise)
    return Precision(geometry, precision.color + sign * color, background)


def posterior(
    precision: Precision,
    priors: Priors,
    gaussians: Gaussians,
    *,
    spacing: Float[Array, "N"] | None = None,
    structure: str = "block",
) -> Posterior:
    """Combine prior and data into one covariance factor per block.

    Args:
        precision: from `accumulate`, over all views that count as observed.
        priors: what is believed without them.
        gaussians: those of `precision`.
        spacing: unit of the position prior, metres; None takes each Gaussian's largest standard deviation,
            which reconstruction ties to the distance between neighbours.
        structure: "block" keeps the correlations within a block, "diag" drops them.

    Raises:
        ValueError: if `structure` is unknown.
    """
    if structure not in STRUCTURES:
        raise ValueError(f"{structure=} is unknown: use one of {STRUCTURES}")
    if spacing is None:
        spacing = jnp.exp(jnp.max(gaussians.log_scales, -1))
    fixed = [priors.rotation] * 3 + [priors.log_scale] * 3 + [priors.logit_opacity]
    fixed = jnp.broadcast_to(jnp.array(fixed), (gaussians.capacity, 7))
    std = jnp.concatenate([jnp.repeat(priors.position * spacing[:, None], 3, 1), fixed], -1)
    factor = posterior_factors if structure == "block" else diagonal_factors
    # The squares of the 2 l + 1 functions of band l add up to (2 l + 1) / (4 pi) in every direction.
    band = np.array(BAND_OF[: gaussians.sh.shape[1]])
    of_band = np.where(band == 0, priors.color, priors.view_color) * np.sqrt(4 * np.pi / (2 * band + 1))
    color = jnp.broadcast_to(jnp.asarray(of_band, jnp.float32), gaussians.sh.shape[:2])
    background = backdrop.posterior_std(precision.background, priors.background)
    return Posterior(factor(precision.geometry, std), factor(precision.color, color), background)


def eig_map(
    gaussians: Gaussians,
    alive: Bool[Array, "N"],
    posterior: Posterior,
    camera: Camera,
    image: Float[Array, "H W 3"],
    alpha: Float[Array, "H W"],
    settings: RenderSettings,
    *,
    noise: Float[ArrayLike, ""],
    mode: str = "exact",
    sh_degree: int | Int[Array, ""] = 3,
    axes: Float[Array, "N 3 3"] | None = None,
) -> Float[Array, "H W"]:
    """Return the expected information gain (nats) of every pixel of a view that was not observed.

    Args:
        gaussians: in the world frame at the time of the view.
        alive: slots in use.
        posterior: of these Gaussians.
        camera: of the view.
        image: the view as rendered from these Gaussians, background included, before exposure.
        alpha: its accumulated opacity.
        settings: those of the render.
        noise: standard deviation of one observed channel.
        mode: "exact", or "trace" for the upper bound.
        sh_degree: highest band rendered.
        axes: of the frames that colours are stored in (columns, world); None takes the world's.
    """
    splats = project_gaussians(gaussians, alive, camera, settings, sh_degree)
    Y = color_sensitivity(gaussians, splats, camera, sh_degree, axes)
    of_color = jnp.sum(Y[:, :, None] * posterior.color, 1)
    return fisher.eig_map(
        splats.mean2d,
        splats.conic,
        splats.opacity,
        blended(splats),
        bin_gaussians(splats, camera, settings),
        image,
        alpha,
        (geometry_in(gaussians, alive, camera, settings), posterior.geometry),
        jnp.sum(of_color**2, -1),
        jnp.square(noise),
        jnp.square(backdrop.look_up(posterior.background, camera)),
        mode=mode,
        width=camera.width,
        height=camera.height,
        tile=settings.tile_size,
        implementation=settings.implementation,
    )


def only(posterior: Posterior, rows: Bool[Array, "N"]) -> Posterior:
    """Return a posterior in which all but some Gaussians are known exactly, and so is the background.

    The EIG map of what remains says how much of a pixel's gain these rows (a node, say) are in doubt about.
    """
    keep = lambda x: jnp.where(rows[:, None, None], x, 0.0)
    return Posterior(keep(posterior.geometry), keep(posterior.color), jnp.zeros_like(posterior.background))


def noise_from_residuals(residuals: Float[Array, "..."], floor: float = 1e-3) -> Float[Array, ""]:
    """Return the standard deviation of the noise from residuals of observed views; NaN entries are ignored.

    1.4826 times the median absolute deviation (Huber 1981, Robust Statistics, 5.1): what the scene has not
    explained yet, or can never explain, sits in the tails and does not count as noise.

    Args:
        residuals: image - render, any shape.
        floor: smallest value returned; 8-bit images cannot be known better than about a quarter of a level.
    """
    centre = jnp.nanmedian(residuals)
    return jnp.maximum(1.4826 * jnp.nanmedian(jnp.abs(residuals - centre)), floor)


def eig_weight(eig: Float[Array, "*n"], kappa: Float[ArrayLike, ""]) -> Float[Array, "*n"]:
    """Return how far a repaired pixel is believed, in [0, 1): 1 - exp(-eig / kappa), with `kappa` in nats."""
    return -jnp.expm1(-eig / kappa)


def eig_mask(eig: Float[Array, "*n"], tau: Float[ArrayLike, ""]) -> Bool[Array, "*n"]:
    """Return where a generator may paint: pixels with at least `tau` nats to gain."""
    return eig >= tau


def partition(eig: Float[Array, "*n"], tau: Float[ArrayLike, ""]) -> tuple[Bool[Array, "*n"], Bool[Array, "*n"]]:
    """Split pixels at `tau` nats into the under-constrained and the well-constrained ones."""
    under_constrained = eig_mask(eig, tau)
    return under_constrained, ~under_constrained
