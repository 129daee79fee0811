"""The common scale of signals: the order of the pixels is that of the signal, the values are those of exact EIG.

A signal in meters or without a unit has no threshold in nats, and networks of fixers were trained on EIG in nats. So a
signal is brought to the scale of the exact map by matching ranks over the pixels of one clip: the pixel with the n-th
largest value of the signal gets the n-th largest EIG. That is monotone. The sum of the weights of all pixels, the share
of pixels above every threshold and the distribution of a network's input are then the same for all signals, and what is
compared is which pixels a signal selects. (Histogram matching, Gonzalez and Woods, Digital Image Processing, 3.3.2.)
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


@jax.jit
def match_scale(values: Float[Array, "*n"], eig: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Replace values by EIG (nats) of the same rank; tied values get the EIG of their middle rank.

    Args:
        values: of a signal, any unit; larger is more uncertain.
        eig: exact EIG of the same pixels, nats.
    """
    ordered, flat = jnp.sort(values.reshape(-1)), values.reshape(-1)
    first, last = (jnp.searchsorted(ordered, flat, side=side) for side in ("left", "right"))
    rank = first + (last - 1 - first) // 2  # whole numbers: exact for any number of pixels
    return jnp.sort(eig.reshape(-1))[rank].reshape(values.shape)
