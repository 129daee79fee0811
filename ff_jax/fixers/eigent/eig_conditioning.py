"""EIG at the resolution of the latents, and where the context branch may steer the backbone.

EIG comes as a saturating value in [0, 1], `eig_weight` of EIG in nats: 0 where everything is known, near 1 where
nothing is.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

SATURATED = 0.99  # the usual limit, above which the render tells nothing


def latent_eig(eig: Float[Array, "B T H W"], time_factor: int = 4, factor: int = 8) -> Float[Array, "B f h w"]:
    """Return the map per latent pixel.

    The video autoencoder gives frame 0 a latent frame of its own and latent frame k the frames 4k - 3 to 4k. Over
    space the map is averaged, as single pixels must not free a latent pixel that is known but for them. Over the frames
    of a group the largest value counts: what is unknown in one of them must be free to be painted, and one latent frame
    decodes to all. Frame 0 is the real image: its EIG is set to 0.

    Args:
        eig: saturating EIG of frames, T = 1 + time_factor (f - 1).
        time_factor: frames per latent frame.
        factor: pixels per latent pixel along each side.

    Raises:
        ValueError: the map cannot be cut like this.
    """
    b, frames, height, width = eig.shape
    if frames % time_factor != 1 or height % factor or width % factor:
        raise ValueError(
            f"eig {eig.shape} must have 1 + {time_factor}k frames, and height and width that are multiples of {factor}."
        )
    coarse = eig.reshape(b, frames, height // factor, factor, width // factor, factor).mean((3, 5))
    groups = coarse[:, 1:].reshape(b, -1, time_factor, *coarse.shape[2:]).max(2)
    return jnp.concatenate([jnp.zeros_like(coarse[:, :1]), groups], 1)


def token_eig(eig: Float[Array, "B f h w"], patch: int, frames: int = 1) -> Float[Array, "B N"]:
    """Return the largest value of each token's patch, of `frames` latent frames, of the map at their resolution."""
    b, f, h, w = eig.shape
    return eig.reshape(b, f // frames, frames, h // patch, patch, w // patch, patch).max((2, 4, 6)).reshape(b, -1)


def steerable(eig: Float[Array, "B N"], saturated: float = SATURATED) -> Float[Array, "B N"]:
    """Return 1 for tokens that the branch may steer, 0 where EIG is above `saturated`: there the backbone is free."""
    return (eig <= saturated).astype(jnp.float32)
