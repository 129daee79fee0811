"""The denoiser: diffusers' U-Net of Stable Diffusion 2.1, with self-attention over all views of a frame at once.

The modules of diffusers are not changed; `flax.linen.intercept_methods` replaces some of their calls:

* Self-attention sees the tokens of all views of a frame in one row (Difix, arXiv 2503.01774, section 3.2), so the
  degraded view can use the reference. Attention to the text and feed-forward layers see each view alone.
* The gated feed-forward uses the exact GELU, and the norm before the transformer blocks epsilon 1e-6, as in the
  training of the published weights. The Flax classes approximate the GELU and use 1e-5.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, PyTree

from ff_jax.fixers.attention import attention as flash
from ff_jax.fixers.difix import eig_conditioning
from ff_jax.fixers.difix.config import DifixConfig
from ff_jax.fixers.difix.diffusers_flax import (
    FlaxAttention,
    FlaxGEGLU,
    FlaxTransformer2DModel,
    FlaxUNet2DConditionModel,
)
from ff_jax.fixers.difix.eig_conditioning import EigCondition


def network(config: DifixConfig) -> FlaxUNet2DConditionModel:
    """Build diffusers' module; its arrays are (batch, channels, height, width)."""
    unet = config.unet
    num_attention = len(unet.channels) - 1
    return FlaxUNet2DConditionModel(
        in_channels=config.vae.latent,
        out_channels=config.vae.latent,
        down_block_types=("CrossAttnDownBlock2D",) * num_attention + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * num_attention,
        block_out_channels=unet.channels,
        layers_per_block=unet.layers,
        attention_head_dim=unet.heads,  # diffusers' name for the number of heads
        cross_attention_dim=unet.context,
        use_linear_projection=True,
        dtype=jnp.dtype(config.dtype),
    )


@functools.cache
def shapes(config: DifixConfig) -> PyTree:
    """Compute shape and dtype of every parameter."""
    side = 2 ** (len(config.unet.channels) - 1)
    latent = jax.ShapeDtypeStruct((1, config.vae.latent, side, side), jnp.float32)
    text = jax.ShapeDtypeStruct((1, 1, config.unet.context), jnp.float32)
    step = jax.ShapeDtypeStruct((1,), jnp.int32)
    return jax.eval_shape(network(config).init, jax.random.key(0), latent, step, text)["params"]


def predict_noise(
    params: PyTree,
    latents: Float[Array, "B V h w c"],
    text: Float[Array, "L D"],
    config: DifixConfig,
    condition: EigCondition | None = None,
) -> Float[Array, "B V h w c"]:
    """Predict the noise in every latent, at the one timestep of the config.

    Args:
        params: of the U-Net alone.
        latents: of V views of B frames; h and w are multiples of 2^(levels - 1).
        text: embedding of the prompt, the same for all.
        config: the layout.
        condition: EIG; None is plain Difix.
    """
    _, views, height, width, channels = latents.shape
    rows = latents.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
    texts = jnp.broadcast_to(text, (len(rows), *text.shape))
    with contextlib.ExitStack() as changes:
        changes.enter_context(nn.intercept_methods(_interceptor(views)))
        if condition is not None:
            intercept = eig_conditioning.interceptor(condition, len(config.unet.channels))
            changes.enter_context(nn.intercept_methods(intercept))
        out = network(config).apply({"params": params}, rows, jnp.array([config.timestep]), texts)
    return cast(Any, out).sample.transpose(0, 2, 3, 1).reshape(latents.shape).astype(latents.dtype)


def _interceptor(views: int) -> Callable[..., Any]:
    """Make the interceptor of the module's docstring."""

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        module = context.module
        if context.method_name == "__call__":
            if isinstance(module, FlaxAttention):
                return _attend(module, args[0], args[1] if len(args) > 1 else None, views)
            if isinstance(module, FlaxGEGLU):
                linear, gate = jnp.split(module.proj(args[0]), 2, -1)
                return linear * nn.gelu(gate, approximate=False)
            if isinstance(module, nn.GroupNorm) and isinstance(module.parent, FlaxTransformer2DModel):
                norm = nn.GroupNorm(module.num_groups, epsilon=1e-6, parent=None)
                return norm.apply({"params": module.variables["params"]}, args[0])
        return call(*args, **kwargs)

    return intercept


def _attend(
    attention: FlaxAttention, x: Float[Array, "BV n d"], text: Float[Array, "BV L D"] | None, views: int
) -> Float[Array, "BV n d"]:
    """Attend to the text or, without one, to the tokens of all views: (B V) n d -> B (V n) d."""
    rows = x if text is not None else x.reshape(-1, views * x.shape[1], x.shape[2])
    context = rows if text is None else text
    heads = lambda y: y.reshape(*y.shape[:2], attention.heads, -1)
    q, k, v = map(heads, (attention.query(rows), attention.key(context), attention.value(context)))
    # Flash attention does not pay for the short prompt.
    mixed = flash(q, k, v, None if text is None else "xla")
    return attention.proj_attn(mixed.reshape(*rows.shape[:2], -1)).reshape(x.shape)
