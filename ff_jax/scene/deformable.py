"""Deformable actors: pedestrians and cyclists are rigid actors whose Gaussians also move inside the box.

A small network maps the rest position of a Gaussian in its box, the time and a code of the actor to a translation and
a rotation in the object frame (the deformable node of OmniRe, Chen et al. 2025, arXiv 2408.16760, after deformable
Gaussians, Yang et al. 2024, arXiv 2309.13101). It is initialized as the identity.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import jaxlie
from flax import struct
from jax import Array
from jaxtyping import Bool, Float, Int, Key, PyTree

from ff_jax.render.gaussians import Gaussians
from ff_jax.render.rigid import in_float32

CODE = 16  # size of an actor's code
_WIDTH, _LAYERS = 64, 4
_PLACE_BANDS, _TIME_BANDS = 4, 6  # octaves: a twelfth of the box, and a 1/32 of the log


class Motion(nn.Module):
    """A network from rest position, time and code to a translation (in half boxes) and a rotation vector (radians)."""

    @nn.compact
    def __call__(
        self, place: Float[Array, "M 3"], time: Float[Array, ""], codes: Float[Array, "M 16"]
    ) -> Float[Array, "M 6"]:
        """Compute translation and rotation; `place` is in units of half the box, `time` in [0, 1] over the log."""
        times = jnp.broadcast_to(_waves(time[None], _TIME_BANDS), (place.shape[0], 2 * _TIME_BANDS))
        x = start = jnp.concatenate([place, _waves(place, _PLACE_BANDS), times, codes], -1)
        for layer in range(_LAYERS):
            x = nn.relu(nn.Dense(_WIDTH)(jnp.concatenate([x, start], -1) if layer == _LAYERS // 2 else x))
        return nn.Dense(6, kernel_init=nn.initializers.zeros)(x)


def _waves(x: Float[Array, "*n d"], bands: int) -> Float[Array, "*n waves"]:
    """Compute sines and cosines of `bands` octaves, the first of period 2."""
    angles = jnp.concatenate([jnp.pi * 2.0**k * x for k in range(bands)], -1)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)


class SoftParams(struct.PyTreeNode):
    """Trainable parameters of the deformation of actors."""

    network: PyTree  # parameters of `Motion`
    codes: Float[Array, "A 16"]


def init_soft(key: Key[Array, ""], actors: int) -> SoftParams:
    """Initialize the parameters: no deformation, and a random code per actor."""
    network_key, code_key = jax.random.split(key)
    network = Motion().init(network_key, jnp.zeros((1, 3)), jnp.float32(0), jnp.zeros((1, CODE)))
    return SoftParams(network, 0.1 * jax.random.normal(code_key, (actors, CODE)))


@in_float32
def deform(
    gaussians: Gaussians,
    actor: Int[Array, "M"],
    params: SoftParams,
    soft: Bool[Array, "A"],
    sizes: Float[Array, "A 3"],
    time: Float[Array, ""],
) -> Gaussians:
    """Move Gaussians inside their boxes.

    Args:
        gaussians: at rest, in object frames.
        actor: index of the actor of each Gaussian.
        params: network and codes.
        soft: whether each actor deforms; Gaussians of the others do not change.
        sizes: of the boxes, meters.
        time: in [0, 1] over the log.
    """
    half = 0.5 * sizes[actor]
    # The gradient of the rest position does not pass through the network.
    place = jax.lax.stop_gradient(gaussians.means / half)
    motion = jnp.asarray(Motion().apply(params.network, place, time, params.codes[actor]))
    motion = jnp.where(soft[actor][:, None], motion, 0.0)
    quats = (jaxlie.SO3.exp(motion[:, 3:]) @ jaxlie.SO3(gaussians.quats)).wxyz
    return gaussians.replace(means=gaussians.means + motion[:, :3] * half, quats=quats)
