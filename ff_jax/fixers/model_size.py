"""Frames of any size in a network of a limited one: aspect kept, padded to what the network divides by."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def working_size(size: tuple[int, int], largest: tuple[int, int], enlarge: bool = False) -> tuple[int, int]:
    """Return height and width scaled to fit into `largest`, aspect kept to a pixel.

    What fits already stays, or fills `largest` along one side (`enlarge`).
    """
    scale = min(float("inf") if enlarge else 1.0, *(limit / side for limit, side in zip(largest, size, strict=True)))
    return max(round(scale * size[0]), 1), max(round(scale * size[1]), 1)


def resize(images: Float[Array, "T H W *c"], size: tuple[int, int]) -> Float[Array, "T h w *c"]:
    """Return images of `size` (height, width), interpolated linearly; smaller ones are averaged as well."""
    if images.shape[1:3] == size:
        return images
    return jax.image.resize(images, (images.shape[0], *size, *images.shape[3:]), "bilinear")


def multiple(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return the least multiples of `stride` that hold an image of `size`."""
    return size[0] + -size[0] % stride, size[1] + -size[1] % stride


def pad(images: Float[Array, "T H W *c"], size: tuple[int, int]) -> Float[Array, "T h w *c"]:
    """Return images whose last row and column are repeated up to `size` (height, width)."""
    more = [(0, large - small) for small, large in zip(images.shape[1:3], size, strict=True)]
    return jnp.pad(images, [(0, 0), *more] + [(0, 0)] * (images.ndim - 3), "edge")
