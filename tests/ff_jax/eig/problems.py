"""Tiny EIG problems, and their solution by brute force in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ff_jax import eig
from ff_jax.eig.ray_jacobians import RayJacobian, ray_jacobians
from ff_jax.render.gaussians import Gaussians, WorldGaussians
from ff_jax.render.renderer import RenderInput, RenderSettings, project_gaussians, render
from tests.scenes import pixel_centers, quick, random_world

SETTINGS = RenderSettings(capacity=256, tile=8, implementation="xla")
posterior_of = quick(eig.posterior, static_argnames=("priors", "structure"))


def to_float64(x):
    return np.asarray(x, np.float64)


def distinct_world(rng, count, cameras, settings=SETTINGS) -> WorldGaussians:
    """Draw Gaussians for which all implementations blend the same pairs in the views of all cameras.

    A pair whose alpha is within rounding of the cut at 1/255 or of the cap may be on either side.
    """
    while True:
        world = random_world(rng, count)
        alphas = np.concatenate([np.ravel(uncut_alphas(RenderInput(world, camera, settings))) for camera in cameras])
        if all(np.abs(alphas / edge - 1).min() > 3e-5 for edge in (1 / 255, 0.999)):
            return world


@quick
def uncut_alphas(inputs: RenderInput):
    """Compute the alpha of every pair before it is cut or capped."""
    splats = project_gaussians(inputs)
    dx, dy = (splats.mean2d[:, :, None] - pixel_centers(inputs.camera).T).swapaxes(0, 1)
    a, b, c = splats.conic.T[..., None]
    return splats.opacity[:, None] * jnp.exp(-0.5 * (a * dx**2 + c * dy**2) - b * dx * dy)


@functools.partial(quick, static_argnames="has_background")
def _add_view(precision, inputs: RenderInput, background, noise, sign, weight, has_background):
    out = render(inputs, background=background)
    alpha = out.alpha if has_background else None
    return eig.accumulate(precision, inputs, out.rgb, noise=noise, alpha=alpha, sign=sign, weight=weight)


def add_view(
    precision, inputs: RenderInput, background, noise, sign=1.0, weight=None, has_background=False
) -> eig.Precision:
    """Add the information of a rendered view to a precision (None: zeros)."""
    precision = eig.init_precision(inputs.world.gaussians) if precision is None else precision
    weight = jnp.ones(background.shape[:2]) if weight is None else weight
    return _add_view(precision, inputs, background, noise, sign, weight, has_background)


@functools.partial(quick, static_argnames="modes")
def eig_maps(posterior, inputs: RenderInput, background, noise, modes=("exact", "trace")):
    """Compute the EIG map of a view in each mode: name only those that a test needs, they are long programs."""
    out = render(inputs, background=background)
    return {mode: eig.eig_map(posterior, inputs, out.rgb, out.alpha, noise=noise, mode=mode) for mode in modes}


@quick
def all_rays(inputs: RenderInput, background):
    """Render and differentiate all pixels of a view by brute force."""
    return ray_jacobians(inputs, pixel_centers(inputs.camera), background.reshape(-1, 3))


def jacobian64(inputs, background) -> RayJacobian:
    """Differentiate all pixels of a view; in float64 from here on."""
    return jax.tree.map(to_float64, all_rays(inputs, background)[1])


def dense_information(J: RayJacobian, noise):
    """Compute J^T J / noise^2 of all pixels, per Gaussian: geometry blocks, and color blocks of one channel."""
    geometry = np.einsum("pcni,pcnj->nij", J.geometry, J.geometry) / noise**2
    return geometry, np.einsum("pcnkd,pcnld->nkl", J.sh, J.sh) / 3 / noise**2


def dense_covariances(information, priors: eig.Priors, gaussians: Gaussians):
    """Invert prior + information per Gaussian: geometry blocks, and color blocks of one channel (1 or 4 functions)."""
    std = np.exp(to_float64(gaussians.log_scales).max(-1, keepdims=True)) * priors.position * np.ones(3)
    fixed = [priors.rotation] * 3 + [priors.log_scale] * 3 + [priors.logit_opacity]
    std = np.concatenate([std, np.tile(fixed, (len(std), 1))], -1)
    bands = [priors.color * np.sqrt(4 * np.pi)] + [priors.view_color * np.sqrt(4 * np.pi / 3)] * 3
    prior = np.array(bands[: information[1].shape[-1]]) ** -2
    geometry = np.linalg.inv(information[0] + std[:, :, None] ** -2 * np.eye(10))
    return geometry, np.linalg.inv(information[1] + np.diag(prior))


def dense_covariance_of_pixels(J: RayJacobian, covariances, background_std, noise):
    """Compute the covariance of the channels of every pixel, in units of noise^2."""
    covariance = np.einsum("pcni,nij,pdnj->pcd", J.geometry, covariances[0], J.geometry)
    covariance += np.einsum("pcnke,nkl,pdnle->pcd", J.sh, covariances[1], J.sh)
    covariance += background_std**2 * np.einsum("pce,pde->pcd", J.background, J.background)
    return covariance / noise**2


def exact_eig(covariance):
    """Compute log det(I + covariance) / 2 of every pixel, nats."""
    return 0.5 * np.linalg.slogdet(np.eye(3) + covariance)[1]


def in_units_of(reference, matrices):
    """Divide matrices by the units of their rows and columns, taken from the diagonal of `reference`."""
    scale = np.sqrt(np.abs(np.diagonal(reference, axis1=-2, axis2=-1))) + 1e-9
    return to_float64(matrices) / (scale[:, :, None] * scale[:, None, :])
