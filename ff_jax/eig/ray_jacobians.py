"""The EIG map and the Fisher information of single rays, by vmapped Jacobian-vector products of one ray.

One pixel is blended in plain jnp over all Gaussians in depth order; `jax.vjp` and `jax.jvp` differentiate it, and
`jax.vmap` maps over rays. The maths is that of `kernels.fisher` without any of its code: a stated second method for
small scenes, and the oracle of its tests. The cost is rays x Gaussians.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Float

from ff_jax.eig import background
from ff_jax.eig.information import GEOMETRY, perturb
from ff_jax.eig.posterior import Posterior
from ff_jax.render.renderer import RenderInput, project_gaussians


class RayJacobian(NamedTuple):
    """Derivatives of the three channels of each ray; geometry as in `eig.perturb`."""

    geometry: Float[Array, "P 3 N 10"]
    sh: Float[Array, "P 3 N K 3"]
    background: Float[Array, "P 3 3"]


def render_ray(inputs: RenderInput, pixel: Float[Array, "2"], background: Float[Array, "3"]) -> Float[Array, "3"]:
    """Render the color at the image point `pixel` (x, y; pixel centers at .5)."""
    splats = project_gaussians(inputs)
    dx, dy = (splats.mean2d - pixel).T
    a, b, c = splats.conic.T
    alpha = jnp.minimum(splats.opacity * jnp.exp(-0.5 * (a * dx**2 + c * dy**2) - b * dx * dy), 0.999)
    alpha = jnp.where(alpha >= 1 / 255, alpha, 0.0)
    order = jnp.argsort(jnp.where(splats.opacity > 0, splats.depth, jnp.inf))
    transmittance = jnp.cumprod(1 - alpha[order])
    weight = alpha[order] * jnp.concatenate([jnp.ones(1), transmittance[:-1]])
    return jnp.matmul(weight, splats.color[order], precision="highest") + transmittance[-1] * background


def perturbed_ray(
    inputs: RenderInput,
    delta: Float[Array, "N 10"],
    sh: Float[Array, "N K 3"],
    background: Float[Array, "3"],
    pixel: Float[Array, "2"],
) -> Float[Array, "3"]:
    """Render one ray of perturbed Gaussians (`delta` as in `eig.perturb`) with the color coefficients `sh`."""
    moved = perturb(inputs.world.gaussians, delta).replace(sh=sh)
    return render_ray(inputs.replace(world=inputs.world._replace(gaussians=moved)), pixel, background)


def ray_jacobians(
    inputs: RenderInput, pixels: Float[Array, "P 2"], backgrounds: Float[Array, "P 3"]
) -> tuple[Float[Array, "P 3"], RayJacobian]:
    """Render image points and differentiate them by all parameters of all Gaussians."""

    def one_ray(
        delta: Float[Array, "N 10"],
        sh: Float[Array, "N K 3"],
        background: Float[Array, "3"],
        pixel: Float[Array, "2"],
    ) -> tuple[Float[Array, "3"], Float[Array, "3"]]:
        color = perturbed_ray(inputs, delta, sh, background, pixel)
        return color, color

    differentiate = jax.jacrev(one_ray, argnums=(0, 1, 2), has_aux=True)  # three outputs: reverse mode
    gaussians = inputs.world.gaussians
    zero = jnp.zeros((gaussians.capacity, GEOMETRY))
    jacobian, colors = jax.vmap(differentiate, (None, None, 0, 0))(zero, gaussians.sh, backgrounds, pixels)
    return colors, RayJacobian(*jacobian)


def ray_eig(
    posterior: Posterior,
    inputs: RenderInput,
    pixels: Float[Array, "P 2"],
    backgrounds: Float[Array, "P 3"],
    *,
    noise: Float[ArrayLike, ""],
) -> Float[Array, "P"]:
    """Compute the exact EIG (nats) of image points from the Jacobians of their rays.

    Args:
        posterior: of the Gaussians of `inputs`.
        inputs: Gaussians at the time of the view, its camera, and the settings of the render.
        pixels: image points (x, y; pixel centers at .5).
        backgrounds: color behind each of them.
        noise: standard deviation of one observed channel.
    """
    _, J = ray_jacobians(inputs, pixels, backgrounds)
    geometry = jnp.einsum("pcni,nij->pcnj", J.geometry, posterior.geometry, precision="highest")
    color = jnp.einsum("pcnkd,nkj->pcnjd", J.sh, posterior.color, precision="highest")
    rows, columns = (jnp.clip(jnp.floor(x).astype(jnp.int32), 0) for x in (pixels[:, 1], pixels[:, 0]))
    std = background.look_up(posterior.background, inputs.camera)[rows, columns]
    parts = [x.reshape(*x.shape[:2], -1) for x in (geometry, color, J.background * std[:, None, None])]
    roots = jnp.concatenate(parts, -1) / noise
    covariance = jnp.einsum("pci,pdi->pcd", roots, roots, precision="highest")
    return 0.5 * jnp.linalg.slogdet(jnp.eye(3) + covariance)[1]
