"""Attention of the generators: flash attention where there is one."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

_HALF = (jnp.dtype("bfloat16"), jnp.dtype("float16"))


def attention(
    q: Float[Array, "B M heads c"],
    k: Float[Array, "B N heads c"],
    v: Float[Array, "B N heads c"],
    implementation: str | None = None,
) -> Float[Array, "B M heads c"]:
    """Return softmax(q k^T / sqrt(c)) v per head.

    Args:
        q: queries.
        k: keys.
        v: values.
        implementation: "xla", or "cudnn" (flash attention: NVIDIA GPU, 16-bit types); None takes cudnn where it works,
            because a full-size clip has 17,550 tokens, whose 48 tables of weights would not fit into a GPU.
    """
    if implementation is None and q.dtype in _HALF and jax.default_backend() == "gpu":
        implementation = "cudnn"
    return jax.nn.dot_product_attention(q, k, v, implementation=implementation)
