"""Deformation for cameras off the recorded path only: Gaussians move by a network of the camera's offset.

The novel trajectory deformation of ReconDreamer++ (arXiv 2503.18438): delta = F(offset) + F(position, time), then an
output layer. Errors of repaired images are absorbed by it, so that the recorded views keep their quality: a recorded
camera has no offset, and its program does not contain the network. The paper leaves open which attributes move, the
units and the encoding; here positions move, the network is small, and it is initialized as the identity. The ground
(`Scene.num_ground`) does not move.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key, PyTree

from ff_jax.render.gaussians import WorldGaussians

_WIDTH, _LAYERS = 64, 3  # the paper has 256 and 8
_BANDS = 6  # octaves of positions (from 200 m) and of times (from 20 s)
_EXTENT, _SPAN, _OFFSET = 100.0, 10.0, 6.0  # meters, seconds and meters that are one unit of the inputs


class NovelMotion(nn.Module):
    """A network from positions, a time and the offset of a camera to translations, meters."""

    @nn.compact
    def __call__(
        self, positions: Float[Array, "N 3"], time: Float[Array, ""], offset: Float[Array, "3"]
    ) -> Float[Array, "N 3"]:
        """Compute the translations; positions, time and offset in units of about 1."""
        times = jnp.broadcast_to(_waves(time[None]), (positions.shape[0], 2 * _BANDS))
        place = self._layers(jnp.concatenate([positions, _waves(positions), times], -1))
        x = nn.relu(place + self._layers(offset[None]))
        return nn.Dense(3, kernel_init=nn.initializers.zeros, use_bias=False)(x)

    def _layers(self, x: Float[Array, "N _"]) -> Float[Array, "N w"]:
        for _ in range(_LAYERS):
            x = nn.relu(nn.Dense(_WIDTH)(x))
        return nn.Dense(_WIDTH)(x)


def _waves(x: Float[Array, "*n d"]) -> Float[Array, "*n waves"]:
    """Compute sines and cosines of `_BANDS` octaves, the first of period 2."""
    angles = jnp.concatenate([jnp.pi * 2.0**k * x for k in range(_BANDS)], -1)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)


def init_novel_motion(key: Key[Array, ""]) -> PyTree:
    """Initialize the parameters: no motion."""
    return NovelMotion().init(key, jnp.zeros((1, 3)), jnp.float32(0), jnp.zeros(3))


def move_for_camera(
    world: WorldGaussians, params: PyTree, offset: Float[Array, "3"], time: Float[Array, ""], num_ground: int
) -> WorldGaussians:
    """Move all Gaussians but the first `num_ground` for a camera off the recorded path.

    Args:
        world: all Gaussians of a scene, in the world.
        params: of the network.
        offset: position of the camera minus that of the recorded camera of its time, meters.
        time: seconds.
        num_ground: number of Gaussians of the ground.
    """
    means = world.gaussians.means
    # The gradient of the positions does not pass through the network.
    inputs = jax.lax.stop_gradient(means[num_ground:]) / _EXTENT, time / _SPAN, offset / _OFFSET
    moved = means.at[num_ground:].add(jnp.asarray(NovelMotion().apply(params, *inputs)))
    return world._replace(gaussians=world.gaussians.replace(means=moved))
