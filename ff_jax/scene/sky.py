"""The sky: color as a smooth function of the viewing direction.

A small network on sin/cos-encoded directions. It has no texture lookups, so value and gradient are dense products,
which are deterministic on every device.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key, PyTree

_BANDS = 3  # octaves of the encoding: detail down to about 20 degrees; Gaussians model finer clouds
_WIDTH = 32
_LAYERS = 2  # hidden ones
_BLACK = -10.0  # logit of a color that no image of 8 bits distinguishes from 0, and whose gradient is not 0


class SkyMLP(nn.Module):
    """A network that maps unit directions (world frame) to colors in [0, 1]."""

    @nn.compact
    def __call__(self, directions: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
        """Compute the sky color along `directions`."""
        angles = (directions[..., None, :] * (2.0 ** jnp.arange(_BANDS))[:, None]).reshape(
            *directions.shape[:-1], 3 * _BANDS
        )
        x = jnp.concatenate([directions, jnp.sin(angles), jnp.cos(angles)], -1)
        for _ in range(_LAYERS):
            x = nn.relu(nn.Dense(_WIDTH, precision="highest")(x))
        return nn.sigmoid(nn.Dense(3, precision="highest", kernel_init=nn.initializers.zeros)(x))


def init_sky(key: Key[Array, ""]) -> PyTree:
    """Initialize the parameters of a uniformly gray sky."""
    return SkyMLP().init(key, jnp.zeros((1, 3)))


def black_sky(params: PyTree) -> PyTree:
    """Make a sky black everywhere, as most programs have it; its colors can still be trained."""

    def darkened(path: tuple, leaf: Array) -> Array:
        is_last = any(getattr(key, "key", None) == f"Dense_{_LAYERS}" for key in path)
        return (jnp.full_like(leaf, _BLACK) if leaf.ndim == 1 else jnp.zeros_like(leaf)) if is_last else leaf

    return jax.tree_util.tree_map_with_path(darkened, params)


def sky_color(params: PyTree, directions: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
    """Compute the sky color in [0, 1] along unit world `directions`."""
    color = SkyMLP().apply(params, jax.lax.stop_gradient(directions))
    assert isinstance(color, Array)  # without mutable collections `apply` returns the output alone
    return color
