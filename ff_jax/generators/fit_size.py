"""Frames of any size in a network of a limited one: aspect kept, padded to what the network divides by."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def working_size(size: tuple[int, int], largest: tuple[int, int]) -> tuple[int, int]:
    """Return height and width scaled to fit into `largest`, aspect kept to a pixel; what fits already stays."""
    scale = min(1.0, *(limit / side for limit, side in zip(largest, size, strict=True)))
    return max(round(scale * size[0]), 1), max(round(scale * size[1]), 1)


def resize(images: Float[Array, "T H W *c"], size: tuple[int, int]) -> Float[Array, "T h w *c"]:
    """Return images of `size` (height, width), interpolated linearly; smaller ones are averaged as well."""
    if images.shape[1:3] == size:
        return images
    return jax.image.resize(images, (images.shape[0], *size, *images.shape[3:]), "bilinear")


def pad(images: Float[Array, "T H W *c"], stride: int) -> Float[Array, "T h w *c"]:
    """Return images whose last row and column are repeated up to multiples of `stride`."""
    height, width = images.shape[1:3]
    more = [(0, 0), (0, -height % stride), (0, -width % stride)] + [(0, 0)] * (images.ndim - 3)
    return jnp.pad(images, more, "edge")
