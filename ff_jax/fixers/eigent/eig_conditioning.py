"""EIG at the resolution of the latents, and the tokens at which the context branch steers the backbone.

EIG is a saturating value in [0, 1], `eig_weight` of EIG in nats: 0 where the recorded views determine the scene, near 1
where they do not.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

EIG_SATURATION = 0.99  # above it the render carries no information


def latent_eig(eig: Float[Array, "B T H W"], time_factor: int = 4, factor: int = 8) -> Float[Array, "B f h w"]:
    """Reduce the map to latent pixels.

    The video autoencoder has a latent frame for frame 0, and latent frame k for the frames 4k - 3 to 4k. Over space the
    map is averaged: single pixels must not release a latent pixel that is otherwise determined. Over the frames of a
    latent frame the maximum is taken: a region that is undetermined in one of them must be free, and one latent frame
    decodes to all. Frame 0 is the real image, so its EIG is set to 0.

    Args:
        eig: saturating EIG of frames, T = 1 + time_factor (f - 1).
        time_factor: frames per latent frame.
        factor: pixels per latent pixel along each side.

    Raises:
        ValueError: the sizes are not divisible.
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
    """Take the maximum over each token's patch, of `frames` latent frames, of a map at latent resolution."""
    b, f, h, w = eig.shape
    return eig.reshape(b, f // frames, frames, h // patch, patch, w // patch, patch).max((2, 4, 6)).reshape(b, -1)


def steering_mask(eig: Float[Array, "B N"], saturation: float = EIG_SATURATION) -> Float[Array, "B N"]:
    """Mask the tokens that the branch steers: 1 up to `saturation`, 0 above it, where the backbone is free."""
    return (eig <= saturation).astype(jnp.float32)
