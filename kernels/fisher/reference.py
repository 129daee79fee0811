"""Specification of both ops: every pixel against every Gaussian, nothing fast."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Float

from kernels.bin_tiles import Bins
from kernels.fisher.information_gain import information_gain, pack
from kernels.rasterize.alpha_blending import alpha_gradient, alpha_of, alpha_slope, falloff


class Pairs(NamedTuple):
    """What Gaussian n does to pixel p, Gaussians in the order of the input."""

    v: Float[Array, "N P 6"]  # d alpha / d (mean2d, conic, log opacity)
    a: Float[Array, "N P 3"]  # d colour / d alpha
    w: Float[Array, "N P"]  # d colour / d (own colour)


def all_pairs(
    mean2d: Float[Array, "N 2"],
    conic: Float[Array, "N 3"],
    opacity: Float[Array, "N"],
    color: Float[Array, "N 3"],
    bins: Bins,
    image: Float[Array, "H W 3"],
) -> Pairs:
    """Blend every Gaussian in every pixel, in the depth order of `bins`."""
    height, width, _ = image.shape
    y, x = jnp.indices((height, width)).reshape(2, 1, -1) + 0.5
    # One (N, 1) array per number of a Gaussian, front to back.
    means, conics = (tuple(array[bins.order].T[..., None]) for array in (mean2d, conic))
    dx, dy, sigma = falloff(means, conics, x, y)
    alpha, slope = alpha_of(opacity[bins.order][:, None], sigma)
    T = jnp.cumprod(1 - alpha, 0)
    T = jnp.concatenate([jnp.ones_like(T[:1]), T[:-1]])
    w, c = alpha * T, color[bins.order][:, None]
    behind = image.reshape(-1, 3) - jnp.cumsum(w[..., None] * c, 0)
    a = alpha_slope(T[..., None], c, behind, alpha[..., None])
    v = jnp.stack(alpha_gradient(dx, dy, conics, slope), -1)
    v = jnp.where(slope[..., None] > 0, v, 0.0)  # a culled Gaussian may carry anything, NaN included
    back = jnp.argsort(bins.order)
    return Pairs(v[back], a[back], w[back])


def accumulate(
    mean2d: Float[Array, "N 2"],
    conic: Float[Array, "N 3"],
    opacity: Float[Array, "N"],
    features: Float[Array, "N C"],
    bins: Bins,
    image: Float[Array, "H W 3"],
    weight: Float[Array, "H W"],
    jacobian: Float[Array, "N 6 p"] | None,
    *,
    tile: int,
) -> tuple[Float[Array, "N packed"], Float[Array, "N"]]:
    """See `kernels.fisher.accumulate`."""
    del tile
    pairs, weight = all_pairs(mean2d, conic, opacity, features[:, :3], bins, image), weight.reshape(-1)
    v = pairs.v
    if jacobian is not None:
        jacobian = jnp.where(opacity[:, None, None] > 0, jacobian, 0.0)
        v = jnp.einsum("npi,nij->npj", v, jacobian, precision="highest")
    per_pair = weight * jnp.sum(pairs.a**2, -1)
    S = jnp.einsum("np,npi,npj->nij", per_pair, v, v, precision="highest")
    return pack(S), jnp.sum(weight * pairs.w**2, -1)


def eig_map(
    mean2d: Float[Array, "N 2"],
    conic: Float[Array, "N 3"],
    opacity: Float[Array, "N"],
    features: Float[Array, "N C"],
    bins: Bins,
    image: Float[Array, "H W 3"],
    alpha: Float[Array, "H W"],
    factor: Float[Array, "N 6 r"],
    q: Float[Array, "N"],
    noise_var: Float[ArrayLike, ""],
    background_var: Float[ArrayLike, "*map"],
    *,
    mode: str,
    tile: int,
) -> Float[Array, "H W"]:
    """See `kernels.fisher.eig_map`."""
    del tile
    pairs = all_pairs(mean2d, conic, opacity, features[:, :3], bins, image)
    factor = jnp.where(opacity[:, None, None] > 0, factor, 0.0)
    spread = jnp.sum(jnp.einsum("npi,nir->npr", pairs.v, factor, precision="highest") ** 2, -1)
    M = jnp.einsum("np,npc,npd->pcd", spread, pairs.a, pairs.a, precision="highest")
    M += jnp.einsum("np,n,cd->pcd", pairs.w**2, q, jnp.eye(3), precision="highest")
    M = pack(M).reshape(*alpha.shape, 6)
    return information_gain(M, alpha, noise_var, background_var, mode)
