"""Fisher information and EIG by random signs through the real rasterizer: nothing but jvp and vjp of `render`.

For random signs z with E[z z^T] = I (Hutchinson 1990, doi 10.1080/03610919008812866)

    diag(J^T J) = E[(J^T u)^2],  u one sign per pixel and channel          (one backward pass each)
    tr(J_p Sigma J_p^T) = E[|J_p F z|^2],  F F^T = Sigma, z one sign per parameter      (one forward pass each)

Slow, noisy, and right for any posterior and any renderer that can be differentiated: the oracle of the maps at
sizes where `rays` is out of reach.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Bool, Float, Int, Key

from ff_jax import eig
from ff_jax.eig import background as backdrop
from ff_jax.render.camera import Camera
from ff_jax.render.gaussians import Gaussians
from ff_jax.render.renderer import RenderSettings, render


def differentiable(
    gaussians: Gaussians,
    alive: Bool[Array, "N"],
    camera: Camera,
    background: Float[Array, "H W 3"],
    settings: RenderSettings,
    sh_degree: int | Int[Array, ""],
) -> tuple[Callable[..., Float[Array, "H W 3"]], tuple[Array, Array, Array]]:
    """Return a view as a function of what the posterior covers, and where to differentiate it.

    The function takes (N, 10) steps as in `eig.perturb`, (N, K, 3) changes of the spherical harmonics and the
    (H, W, 3) background; the arguments are those of `trace_map`.
    """

    def shown(
        delta: Float[Array, "N 10"], sh: Float[Array, "N K 3"], behind: Float[Array, "H W 3"]
    ) -> Float[Array, "H W 3"]:
        moved = eig.perturb(gaussians, delta).replace(sh=gaussians.sh + sh)
        return render(moved, alive, camera, settings, sh_degree=sh_degree, background=behind).rgb

    return shown, (jnp.zeros((gaussians.capacity, eig.GEOMETRY)), jnp.zeros_like(gaussians.sh), background)


def trace_map(
    key: Key[Array, ""],
    gaussians: Gaussians,
    alive: Bool[Array, "N"],
    posterior: eig.Posterior,
    camera: Camera,
    background: Float[Array, "H W 3"],
    settings: RenderSettings,
    *,
    noise: Float[ArrayLike, ""],
    probes: int,
    sh_degree: int | Int[Array, ""] = 3,
) -> tuple[Float[Array, "H W"], Float[Array, "H W"]]:
    """Return an estimate of the EIG map of mode "trace" (nats) and its standard error.

    Args:
        key: draws the probes.
        gaussians: in the world frame at the time of the view.
        alive: slots in use.
        posterior: of these Gaussians.
        camera: of the view.
        background: what shows where opacity is missing.
        settings: those of the render.
        noise: standard deviation of one observed channel.
        probes: how many, at least 2.
        sh_degree: highest band rendered.
    """
    shown, still = differentiable(gaussians, alive, camera, background, settings, sh_degree)
    std = backdrop.look_up(posterior.background, camera)

    def one(key: Key[Array, ""]) -> Float[Array, "H W"]:
        signs = [
            jax.random.rademacher(k, x.shape, jnp.float32) for k, x in zip(jax.random.split(key, 3), still, strict=True)
        ]
        moved = (
            jnp.einsum("nij,nj->ni", posterior.geometry, signs[0], precision="highest"),
            jnp.einsum("nij,njc->nic", posterior.color, signs[1], precision="highest"),
            std[..., None] * signs[2],
        )
        _, change = jax.jvp(shown, still, moved)
        return 0.5 * jnp.sum((change / noise) ** 2, -1)

    samples = jax.lax.map(one, jax.random.split(key, probes))
    return jnp.mean(samples, 0), jnp.std(samples, 0, ddof=1) / jnp.sqrt(probes)


def fisher_diagonal(
    key: Key[Array, ""],
    gaussians: Gaussians,
    alive: Bool[Array, "N"],
    camera: Camera,
    background: Float[Array, "H W 3"],
    settings: RenderSettings,
    *,
    noise: Float[ArrayLike, ""],
    probes: int,
    sh_degree: int | Int[Array, ""] = 3,
) -> tuple[Float[Array, "N 10"], Float[Array, "N 10"]]:
    """Return an estimate of the diagonal of the geometry blocks of a view's precision, and its standard error.

    Arguments as in `trace_map`.
    """
    shown, (still, *rest) = differentiable(gaussians, alive, camera, background, settings, sh_degree)
    _, pull = jax.vjp(lambda delta: shown(delta, *rest), still)
    draw = lambda key: (pull(jax.random.rademacher(key, background.shape, jnp.float32))[0] / noise) ** 2
    samples = jax.lax.map(draw, jax.random.split(key, probes))
    return jnp.mean(samples, 0), jnp.std(samples, 0, ddof=1) / jnp.sqrt(probes)
