"""The specification of `rasterize`: every Gaussian in every pixel, differentiable by autodiff."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kernels.bin_tiles.types import Bins
from kernels.rasterize.alpha_blending import alpha_of, falloff, splat_of


def forward(table: Float[Array, "N F"], bins: Bins) -> Float[Array, "H W C_and_alpha"]:
    """Compute the features and, last, the accumulated alpha; of the lists only the depth order is read."""
    x, y = jnp.meshgrid(jnp.arange(bins.grid.width) + 0.5, jnp.arange(bins.grid.height) + 0.5)
    splat = splat_of(list(table[bins.order].T[:, :, None, None]))
    alpha, _ = alpha_of(splat.opacity, falloff(splat.mean2d, splat.conic, x, y)[2])  # (N, H, W)
    T = jnp.cumprod(1 - alpha, 0)
    weight = alpha * jnp.concatenate([jnp.ones_like(T[:1]), T[:-1]])
    features = jnp.stack(splat.features, -1)  # (N, 1, 1, C)
    return jnp.concatenate([jnp.sum(weight[..., None] * features, 0), 1 - T[-1][..., None]], -1)
