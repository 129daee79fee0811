"""One pixel against all Gaussians, differentiated by brute force: the oracle of the EIG.

Nothing here is fast and nothing is shared with `kernels.fisher`: a ray is blended in plain jnp over every Gaussian
in depth order, and its Jacobian is autodiff's.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from ff_jax.eig import GEOMETRY, perturb
from ff_jax.render.camera import Camera
from ff_jax.render.gaussians import Gaussians
from ff_jax.render.renderer import RenderSettings, project_gaussians


class RayJacobian(NamedTuple):
    """Derivatives of the three channels of each pixel; geometry as in `eig.perturb`."""

    geometry: Float[Array, "P 3 N 10"]
    sh: Float[Array, "P 3 N K 3"]
    background: Float[Array, "P 3 3"]


def render_ray(
    gaussians: Gaussians,
    alive: Bool[Array, "N"],
    camera: Camera,
    pixel: Float[Array, "2"],
    settings: RenderSettings,
    background: Float[Array, "3"],
    sh_degree: int | Int[Array, ""] = 3,
) -> Float[Array, "3"]:
    """Return the colour at the image point `pixel` (x, y; pixel centres at .5)."""
    splats = project_gaussians(gaussians, alive, camera, settings, sh_degree)
    dx, dy = (splats.mean2d - pixel).T
    a, b, c = splats.conic.T
    alpha = jnp.minimum(splats.opacity * jnp.exp(-0.5 * (a * dx**2 + c * dy**2) - b * dx * dy), 0.999)
    alpha = jnp.where(alpha >= 1 / 255, alpha, 0.0)
    order = jnp.argsort(jnp.where(splats.opacity > 0, splats.depth, jnp.inf))
    through = jnp.cumprod(1 - alpha[order])
    weight = alpha[order] * jnp.concatenate([jnp.ones(1), through[:-1]])
    return jnp.matmul(weight, splats.color[order], precision="highest") + through[-1] * background


def ray_jacobians(
    gaussians: Gaussians,
    alive: Bool[Array, "N"],
    camera: Camera,
    pixels: Float[Array, "P 2"],
    settings: RenderSettings,
    backgrounds: Float[Array, "P 3"],
    sh_degree: int | Int[Array, ""] = 3,
) -> tuple[Float[Array, "P 3"], RayJacobian]:
    """Return the colours at image points and their derivatives by every parameter of every Gaussian."""

    def one_ray(
        delta: Float[Array, "N 10"],
        sh: Float[Array, "N K 3"],
        background: Float[Array, "3"],
        pixel: Float[Array, "2"],
    ) -> tuple[Float[Array, "3"], Float[Array, "3"]]:
        moved = perturb(gaussians, delta).replace(sh=sh)
        color = render_ray(moved, alive, camera, pixel, settings, background, sh_degree)
        return color, color

    differentiate = jax.jacrev(one_ray, argnums=(0, 1, 2), has_aux=True)  # three outputs: reverse mode
    still = jnp.zeros((gaussians.capacity, GEOMETRY))
    jacobian, colors = jax.vmap(differentiate, (None, None, 0, 0))(still, gaussians.sh, backgrounds, pixels)
    return colors, RayJacobian(*jacobian)
