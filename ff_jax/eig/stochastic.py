"""Stochastic estimates of Fisher information and EIG through the rasterizer: only jvp and vjp of `render`.

For random signs z with E[z z^T] = I (Hutchinson 1990, doi 10.1080/03610919008812866)

    diag(J^T J) = E[(J^T u)^2],  u one sign per pixel and channel          (one backward pass each)
    tr(J_p Sigma J_p^T) = E[|J_p F z|^2],  F F^T = Sigma, z one sign per parameter      (one forward pass each)

Slow and noisy, but valid for any posterior and any differentiable renderer: the oracle of the maps at sizes for which
`ray_jacobians` is too slow.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Float, Key

from ff_jax.eig.background import look_up
from ff_jax.eig.information import GEOMETRY, perturb
from ff_jax.eig.posterior import Posterior
from ff_jax.render.renderer import RenderInput, render

Arguments = tuple[Float[Array, "N 10"], Float[Array, "N K 3"], Float[Array, "H W 3"]]


def differentiable(
    inputs: RenderInput, background: Float[Array, "H W 3"]
) -> tuple[Callable[..., Float[Array, "H W 3"]], Arguments]:
    """Make a view a function of the parameters of the posterior; return it and its point of linearization.

    The function takes (N, 10) steps as in `eig.perturb`, (N, K, 3) changes of the spherical harmonics and the
    (H, W, 3) background.
    """
    gaussians = inputs.world.gaussians

    def render_at(
        delta: Float[Array, "N 10"], sh: Float[Array, "N K 3"], behind: Float[Array, "H W 3"]
    ) -> Float[Array, "H W 3"]:
        moved = perturb(gaussians, delta).replace(sh=gaussians.sh + sh)
        return render(inputs.replace(world=inputs.world._replace(gaussians=moved)), background=behind).rgb

    return render_at, (jnp.zeros((gaussians.capacity, GEOMETRY)), jnp.zeros_like(gaussians.sh), background)


def trace_map(
    key: Key[Array, ""],
    posterior: Posterior,
    inputs: RenderInput,
    background: Float[Array, "H W 3"],
    *,
    noise: Float[ArrayLike, ""],
    num_samples: int,
) -> tuple[Float[Array, "H W"], Float[Array, "H W"]]:
    """Estimate the EIG map of mode "trace" (nats) and its standard error.

    Args:
        key: random key of the samples.
        posterior: of the Gaussians of `inputs`.
        inputs: Gaussians at the time of the view, its camera, and the settings of the render.
        background: visible where opacity is missing.
        noise: standard deviation of one observed channel.
        num_samples: at least 2.
    """
    render_at, point = differentiable(inputs, background)
    std = look_up(posterior.background, inputs.camera)

    def sample(key: Key[Array, ""]) -> Float[Array, "H W"]:
        keys = jax.random.split(key, 3)
        signs = [jax.random.rademacher(k, x.shape, jnp.float32) for k, x in zip(keys, point, strict=True)]
        tangent = (
            jnp.einsum("nij,nj->ni", posterior.geometry, signs[0], precision="highest"),
            jnp.einsum("nij,njc->nic", posterior.color, signs[1], precision="highest"),
            std[..., None] * signs[2],
        )
        _, change = jax.jvp(render_at, point, tangent)
        return 0.5 * jnp.sum((change / noise) ** 2, -1)

    samples = jax.lax.map(sample, jax.random.split(key, num_samples))
    return jnp.mean(samples, 0), jnp.std(samples, 0, ddof=1) / jnp.sqrt(num_samples)


def fisher_diagonal(
    key: Key[Array, ""],
    inputs: RenderInput,
    background: Float[Array, "H W 3"],
    *,
    noise: Float[ArrayLike, ""],
    num_samples: int,
) -> tuple[Float[Array, "N 10"], Float[Array, "N 10"]]:
    """Estimate the diagonal of the geometry blocks of a view's precision, and its standard error.

    Arguments as in `trace_map`.
    """
    render_at, (point, *rest) = differentiable(inputs, background)
    _, vjp = jax.vjp(lambda delta: render_at(delta, *rest), point)

    def sample(key: Key[Array, ""]) -> Float[Array, "N 10"]:
        return (vjp(jax.random.rademacher(key, background.shape, jnp.float32))[0] / noise) ** 2

    samples = jax.lax.map(sample, jax.random.split(key, num_samples))
    return jnp.mean(samples, 0), jnp.std(samples, 0, ddof=1) / jnp.sqrt(num_samples)
