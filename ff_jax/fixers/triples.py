"""Training triples of the fixers, and the quality measure of their training."""

import jax.numpy as jnp
from flax import struct
from jax import Array
from jaxtyping import Float, Num


@struct.dataclass
class Triples:
    """Renders with their EIG, references and true images.

    They are float32 on the device, or as stored: NumPy, small types (see `pair_files.as_colors`).
    """

    renders: Num[Array, "*N H W 3"]  # colors in [0, 1], or uint8
    eigs: Float[Array, "*N H W"]  # EIG of the renders, nats
    references: Num[Array, "*N H W 3"]  # recorded images, usually re-projected into the view (`reprojection.align`)
    targets: Num[Array, "*N H W 3"]  # the real image of the rendered view


def psnr(images: Float[Array, "*B H W 3"], truth: Float[Array, "*B H W 3"]) -> Float[Array, "*B"]:
    """Compute the peak signal-to-noise ratio of every image, dB.

    Unlike `metrics.image.psnr` it takes batches, and stays finite for equal images: 1e-10 is added to the error.
    """
    return -10.0 * jnp.log10(jnp.square(images - truth).mean((-3, -2, -1)) + 1e-10)
