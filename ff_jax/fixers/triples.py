"""Training triples of the fixers, colors as bytes, and the quality measure of their training."""

from collections.abc import Mapping
from dataclasses import field

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jaxtyping import Float, Num, UInt8


@struct.dataclass
class Triples:
    """Renders with their EIG, references and true images.

    They are float32 on the device, or as stored: NumPy, small types (see `pair_files.as_colors`).
    """

    renders: Num[Array, "*N H W 3"]  # colors in [0, 1], or uint8
    eigs: Float[Array, "*N H W"]  # EIG of the renders, nats
    # Recorded images, usually re-projected into the view: merged (N, H, W, 3), or several with their confidence
    # (N, K, H, W, 4). See `reprojection.align` and `align_each`.
    references: Num[Array, "..."]
    targets: Num[Array, "*N H W 3"]  # the real image of the rendered view
    # Of the pixels in the loss, in [0, 1] (or bytes); None weights all alike. 0 masks moving objects.
    weights: Num[Array, "*N H W"] | None = None
    # Images by name, in [0, 1] (or bytes), for fixers that take conditions (see `conditions.CHANNELS`).
    conditions: Mapping[str, Num[Array, "*N H W _"]] = field(default_factory=dict)
    # Where another signal than that of `eigs` blends the repair, or weights its pixels in training; None: `eigs`.
    blend_eigs: Float[Array, "*N H W"] | None = None
    weight_eigs: Float[Array, "*N H W"] | None = None


def as_bytes(colors: Float[Array | np.ndarray, "..."]) -> UInt8[Array, "..."]:
    """Round colors in [0, 1] to bytes."""
    return jnp.rint(jnp.clip(jnp.asarray(colors), 0.0, 1.0) * 255.0).astype(jnp.uint8)


def as_colors(stored: Triples) -> Triples:
    """Convert triples to float32: colors, confidence and weights in [0, 1], EIG in nats, clipped at zero."""

    def nats(stored: Float[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
        # Rounding may give small negative values.
        return jnp.maximum(jnp.asarray(stored, jnp.float32), 0.0)

    return Triples(
        renders=from_bytes(stored.renders),
        eigs=nats(stored.eigs),
        references=from_bytes(stored.references),
        targets=from_bytes(stored.targets),
        weights=None if stored.weights is None else from_bytes(stored.weights),
        conditions={name: from_bytes(images) for name, images in stored.conditions.items()},
        blend_eigs=None if stored.blend_eigs is None else nats(stored.blend_eigs),
        weight_eigs=None if stored.weight_eigs is None else nats(stored.weight_eigs),
    )


def from_bytes(stored: Num[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
    """Convert bytes to float32 in [0, 1]; float arrays keep their values."""
    array = jnp.asarray(stored)
    return array.astype(jnp.float32) / 255.0 if array.dtype == jnp.uint8 else array.astype(jnp.float32)


def masked(images: Float[Array, "*N H W 3"], truth: Triples) -> Float[Array, "*N H W 3"]:
    """Replace pixels of weight 0 by the truth, so that they count as right; other weights blend."""
    return images if truth.weights is None else truth.targets + truth.weights[..., None] * (images - truth.targets)


def psnr(images: Float[Array, "*B H W 3"], truth: Float[Array, "*B H W 3"]) -> Float[Array, "*B"]:
    """Compute the peak signal-to-noise ratio of every image, dB.

    Unlike `metrics.image.psnr` it takes batches, and stays finite for equal images: 1e-10 is added to the error.
    """
    return -10.0 * jnp.log10(jnp.square(images - truth).mean((-3, -2, -1)) + 1e-10)
