"""Specification of both ops: every pixel against every Gaussian, nothing fast."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kernels.bin_tiles.types import Bins
from kernels.common.symmetric import pack_symmetric
from kernels.fisher.eig import eig_of_covariance
from kernels.fisher.types import Uncertainty
from kernels.project.types import Projected
from kernels.rasterize.alpha_blending import alpha_gradient, alpha_of, alpha_slope, falloff


class AllPairs(NamedTuple):
    """Derivatives of pixel p with respect to Gaussian n, Gaussians in the order of the input."""

    v: Float[Array, "N P 6"]  # d alpha / d (mean2d, conic, log opacity)
    a: Float[Array, "N P 3"]  # d color / d alpha
    w: Float[Array, "N P"]  # d color / d (own color)


def all_pairs(projected: Projected, color: Float[Array, "N 3"], bins: Bins, image: Float[Array, "H W 3"]) -> AllPairs:
    """Blend every Gaussian in every pixel, in the depth order of `bins`."""
    height, width, _ = image.shape
    y, x = jnp.indices((height, width)).reshape(2, 1, -1) + 0.5
    # One (N, 1) array per number of a Gaussian, front to back.
    means, conics = (tuple(array[bins.order].T[..., None]) for array in (projected.mean2d, projected.conic))
    dx, dy, sigma = falloff(means, conics, x, y)
    alpha, slope = alpha_of(projected.opacity[bins.order][:, None], sigma)
    T = jnp.cumprod(1 - alpha, 0)
    T = jnp.concatenate([jnp.ones_like(T[:1]), T[:-1]])
    w, c = alpha * T, color[bins.order][:, None]
    behind = image.reshape(-1, 3) - jnp.cumsum(w[..., None] * c, 0)
    a = alpha_slope(T[..., None], c, behind, alpha[..., None])
    v = jnp.stack(alpha_gradient(dx, dy, conics, slope), -1)
    v = jnp.where(slope[..., None] > 0, v, 0.0)  # numbers of a culled Gaussian may be NaN
    back = jnp.argsort(bins.order)
    return AllPairs(v[back], a[back], w[back])


def fisher_information(
    projected: Projected,
    features: Float[Array, "N C"],
    bins: Bins,
    image: Float[Array, "H W 3"],
    weight: Float[Array, "H W"],
    jacobian: Float[Array, "N 6 p"] | None,
) -> tuple[Float[Array, "N packed"], Float[Array, "N"]]:
    """Accumulate Fisher information; see `kernels.fisher.fisher_information`."""
    pairs, weight = all_pairs(projected, features[:, :3], bins, image), weight.reshape(-1)
    v = pairs.v
    if jacobian is not None:
        jacobian = jnp.where(projected.opacity[:, None, None] > 0, jacobian, 0.0)
        v = jnp.einsum("npi,nij->npj", v, jacobian, precision="highest")
    per_pair = weight * jnp.sum(pairs.a**2, -1)
    S = jnp.einsum("np,npi,npj->nij", per_pair, v, v, precision="highest")
    return pack_symmetric(S), jnp.sum(weight * pairs.w**2, -1)


def eig_map(
    projected: Projected,
    features: Float[Array, "N C"],
    bins: Bins,
    image: Float[Array, "H W 3"],
    alpha: Float[Array, "H W"],
    uncertainty: Uncertainty,
    *,
    mode: str,
) -> Float[Array, "H W"]:
    """Compute the EIG map; see `kernels.fisher.eig_map`."""
    factor, color_var, noise_var, background_var = uncertainty
    assert not isinstance(factor, tuple)
    pairs = all_pairs(projected, features[:, :3], bins, image)
    factor = jnp.where(projected.opacity[:, None, None] > 0, factor, 0.0)
    spread = jnp.sum(jnp.einsum("npi,nir->npr", pairs.v, factor, precision="highest") ** 2, -1)
    M = jnp.einsum("np,npc,npd->pcd", spread, pairs.a, pairs.a, precision="highest")
    M += jnp.einsum("np,n,cd->pcd", pairs.w**2, color_var, jnp.eye(3), precision="highest")
    M = pack_symmetric(M).reshape(*alpha.shape, 6)
    return eig_of_covariance(M, alpha, noise_var, background_var, mode)
