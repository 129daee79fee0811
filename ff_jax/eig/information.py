"""Fisher information of the recorded views: the precision of every Gaussian and of the background.

The posterior is a Laplace approximation with one block per Gaussian for its geometry and one for its color:

    precision = prior + sum over observed pixels of J^T J / noise^2,       J = d pixel color / d parameters.

A Gaussian's geometry reaches a pixel only through its footprint (mean2d, conic, log opacity): J = a v^T L with
v and a from `kernels.fisher` and L = d footprint / d geometry, one 6 x 10 matrix per Gaussian and view.

Geometry is perturbed in the Gaussian's own axes (`perturb`): mean 3 [m], rotation vector 3 [rad], log-scale 3,
logit-opacity 1. A block therefore stays valid when a rigid actor moves its Gaussians. Exposure and camera
corrections are held fixed. The background has a posterior of its own (`background`).
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from jaxtyping import ArrayLike, Float

from ff_jax.eig import background
from ff_jax.render.gaussians import Gaussians, opacities
from ff_jax.render.renderer import RenderInput, bin_gaussians, blended, project_gaussians
from ff_jax.render.rigid import quats_to_matrices
from kernels import (
    SH_BAND,
    CameraMatrices,
    Gaussians3D,
    Projected,
    ViewGeometry,
    fisher_information,
    pack_symmetric,
    sh_basis,
    view_directions,
)

GEOMETRY = 10  # parameters of a geometry block


class Precision(struct.PyTreeNode):
    """Fisher information of the observed views, without the prior: packed upper triangles, row-major."""

    geometry: Float[Array, "N 55"]  # mean 3 [1/m], rotation 3 [1/rad], log-scale 3, logit-opacity 1
    color: Float[Array, "N packed"]  # K x K over spherical harmonics, one for all three channels
    background: Float[Array, "cells"]  # per direction, see `background`


def init_precision(gaussians: Gaussians) -> Precision:
    """Make the precision before the first view: zeros."""
    count, coefficients, _ = gaussians.sh.shape
    packed = coefficients * (coefficients + 1) // 2
    geometry = jnp.zeros((count, GEOMETRY * (GEOMETRY + 1) // 2))
    return Precision(geometry, jnp.zeros((count, packed)), jnp.zeros(background.CELLS))


def perturb(gaussians: Gaussians, delta: Float[Array, "N 10"]) -> Gaussians:
    """Move Gaussians by a small `delta`: meters and radians in their own axes, log-scale, logit-opacity."""
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


def color_sensitivity(inputs: RenderInput, projected: Projected) -> Float[Array, "N K"]:
    """Compute d color channel / d coefficients, root mean square over channels; 0 for invisible Gaussians."""
    gaussians, _, axes = inputs.world
    coefficients = gaussians.sh.shape[1]
    directions = view_directions(gaussians.means, inputs.camera.camera_from_world)
    if axes is not None:
        directions = jnp.einsum("nij,ni->nj", axes, directions, precision="highest")
    Y = sh_basis(directions, coefficients)
    Y *= jnp.array(SH_BAND[:coefficients]) <= inputs.sh_degree
    # A channel that is clipped at 0 has no derivative.
    Y *= jnp.sqrt(jnp.mean(projected.color > 0, -1, keepdims=True))
    return jnp.where((projected.opacity > 0)[:, None], Y, 0.0)


def view_geometry(inputs: RenderInput) -> ViewGeometry | Float[Array, "N 6 10"]:
    """Collect what footprints are differentiated by: the geometry of a pinhole view, or the Jacobian behind a lens.

    The kernels have the derivatives of the pinhole projection written out; those of a lens come from
    `lens_footprint_jacobian`, for every implementation.
    """
    (gaussians, alive, _), camera = inputs.world, inputs.camera
    if camera.lens is not None:
        return lens_footprint_jacobian(inputs)
    world = Gaussians3D(
        gaussians.means, gaussians.quats, jnp.exp(gaussians.log_scales), opacities(gaussians, alive), gaussians.sh
    )
    return ViewGeometry(world, CameraMatrices(camera.camera_from_world, camera.K), inputs.settings.projection(camera))


def lens_footprint_jacobian(inputs: RenderInput) -> Float[Array, "N 6 10"]:
    """Compute d (mean2d, conic, log opacity) / d geometry by ten Jacobian-vector products of the projection.

    All Gaussians share a product, because a footprint depends on its own Gaussian only. 0 for a Gaussian that is
    culled. A rolling shutter is part of the derivative.
    """
    gaussians = inputs.world.gaussians
    is_visible = project_gaussians(inputs).opacity > 0

    def footprint(delta: Float[Array, "N 10"]) -> Float[Array, "N 6"]:
        moved = perturb(gaussians, delta)
        splats = project_gaussians(inputs.replace(world=inputs.world._replace(gaussians=moved)))
        opacity = jnp.where(is_visible, splats.opacity, 1.0)
        return jnp.concatenate([splats.mean2d, splats.conic, jnp.log(opacity)[:, None]], -1)

    zero = jnp.zeros((gaussians.capacity, GEOMETRY))
    _, push = jax.linearize(footprint, zero)
    steps = jnp.broadcast_to(jnp.eye(GEOMETRY)[:, None], (GEOMETRY, *zero.shape))
    return jnp.where(is_visible[:, None, None], jax.vmap(push, out_axes=-1)(steps), 0.0)


def accumulate(
    precision: Precision,
    inputs: RenderInput,
    image: Float[Array, "H W 3"],
    *,
    noise: Float[ArrayLike, ""],
    alpha: Float[Array, "H W"] | None = None,
    weight: Float[Array, "H W"] | None = None,
    sign: Float[ArrayLike, ""] = 1.0,
) -> Precision:
    """Add the Fisher information of one view to the precision, or subtract it.

    Args:
        precision: of the views so far.
        inputs: Gaussians at the time of the view, its camera, and the settings of the render.
        image: render of `inputs`, background included, before exposure.
        noise: standard deviation of one observed channel.
        alpha: accumulated opacity of the render; None leaves the background out.
        weight: per pixel (in [0, 1] where `alpha` is given), multiplies the information; 0 for pixels that do not
            show this scene.
        sign: +1 adds, -1 subtracts a view that was added with the same arguments.
    """
    camera, settings = inputs.camera, inputs.settings
    information = jnp.ones(image.shape[:2]) if weight is None else weight
    splats = project_gaussians(inputs)
    Y = color_sensitivity(inputs, splats)
    geometry, w2 = fisher_information(
        splats,
        blended(splats),
        bin_gaussians(splats, camera, settings),
        image,
        information / jnp.square(noise),
        view_geometry(inputs),
        (precision.geometry, sign),
        implementation=settings.implementation,
    )
    color = pack_symmetric(w2[:, None, None] * Y[:, :, None] * Y[:, None, :])
    cells = precision.background
    if alpha is not None:
        cells = cells + sign * background.information(camera, alpha, information) / jnp.square(noise)
    return Precision(geometry, precision.color + sign * color, cells)
