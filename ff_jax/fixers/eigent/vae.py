"""The causal video autoencoder of CogVideoX: videos to latents and back, in chunks of frames and in tiles.

Latents are 8 times smaller along each side and 4 times along time, and the first frame has its own latent frame: 1 + 8k
frames are 1 + 2k latent frames. Latents always have the scale of the transformer.

`encode` and `decode` loop in Python over calls of one jitted function; if they were jitted as a whole, every tile and
chunk would be compiled.
"""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import ArrayLike, Float, Key, PyTree

from ff_jax.fixers.eigent.network_config import VideoVaeConfig
from ff_jax.fixers.eigent.vae_layers import VideoDecoder, VideoEncoder
from ff_jax.fixers.tiling import map_tiles

_CHUNK = 2  # latent frames at a time, after the first: the published weights require it
_LOG_VARIANCE = (-30.0, 20.0)


class Moments(NamedTuple):
    """Normal distribution of the latents of a video, in the scale of the transformer."""

    mean: Array  # (B, f, h, w, C)
    log_variance: Array  # (B, f, h, w, C)


def init_params(key: Key[Array, ""], config: VideoVaeConfig) -> PyTree:
    """Draw parameters {"encoder": ..., "decoder": ...}."""
    encoder, decoder = jax.random.split(key)
    size = config.factor
    video, latents = jnp.zeros((1, 1, size, size, 3)), jnp.zeros((1, 1, 1, 1, config.latent_channels))
    return {
        "encoder": VideoEncoder(config).init(encoder, video)["params"],
        "decoder": VideoDecoder(config).init(decoder, latents)["params"],
    }


def encode(
    config: VideoVaeConfig, params: PyTree, video: Float[ArrayLike, "B T H W 3"], dtype: DTypeLike = jnp.float32
) -> Moments:
    """Encode videos as a distribution of latents.

    Args:
        config: sizes; images above its tile are encoded in tiles.
        params: {"encoder": ...}.
        video: colors in [0, 1]; 1 + 8k frames, height and width multiples of 8.
        dtype: of the computation.

    Raises:
        ValueError: the video has another size or number of frames.
    """
    video = jnp.asarray(video)
    _, frames, height, width, _ = video.shape
    if frames % (_CHUNK * config.time_factor) != 1 or height % config.factor or width % config.factor:
        raise ValueError(
            f"video {video.shape} must have 1 + {_CHUNK * config.time_factor}k frames, and height and width that are "
            f"multiples of {config.factor}: crop or pad it."
        )
    run = partial(_chunks, VideoEncoder(config, dtype), params["encoder"], _CHUNK * config.time_factor)
    x = (2 * video - 1).astype(dtype)
    mean, log_variance = jnp.split(map_tiles(run, x, config.tile, config.overlap, config.factor), 2, -1)
    log_variance = jnp.clip(log_variance.astype(jnp.float32), *_LOG_VARIANCE)
    return Moments(config.scale * mean.astype(jnp.float32), log_variance + 2 * jnp.log(config.scale))


def sample(key: Key[Array, ""], moments: Moments) -> Float[Array, "B f h w C"]:
    """Draw latents."""
    noise = jax.random.normal(key, moments.mean.shape, moments.mean.dtype)
    return moments.mean + jnp.exp(moments.log_variance / 2) * noise


def decode(
    config: VideoVaeConfig, params: PyTree, latents: Float[ArrayLike, "B f h w C"], dtype: DTypeLike = jnp.float32
) -> Float[Array, "B T H W 3"]:
    """Decode videos: float32, colors about [0, 1], not clipped.

    Args:
        config: sizes; images above its tile are decoded in tiles.
        params: {"decoder": ...}.
        latents: 1 + 2k frames.
        dtype: of the computation.

    Raises:
        ValueError: the latents have another number of frames or channels.
    """
    latents = jnp.asarray(latents)
    if latents.shape[1] % _CHUNK != 1 or latents.shape[-1] != config.latent_channels:
        raise ValueError(
            f"latents {latents.shape} must have 1 + {_CHUNK}k frames and {config.latent_channels} channels."
        )
    run = partial(_chunks, VideoDecoder(config, dtype), params["decoder"], _CHUNK)
    video = map_tiles(run, (latents / config.scale).astype(dtype), config.tile, config.overlap)
    return (video.astype(jnp.float32) + 1) / 2


def _chunks(module: nn.Module, params: PyTree, size: int, x: Float[Array, "B T H W C"]) -> Float[Array, "B t h w c"]:
    """Apply the module to x in chunks of `size` frames; the first chunk has one more."""
    first = min(x.shape[1], 1 + size)
    ends = range(first, x.shape[1] + 1, size)
    cache, parts = {}, []
    for start, end in zip((0, *ends), ends, strict=False):
        part, cache = _chunk(module, params, cache, x[:, start:end])
        parts.append(part)
    return jnp.concatenate(parts, 1)


@partial(jax.jit, static_argnums=0)
def _chunk(
    module: nn.Module, params: PyTree, cache: PyTree, x: Float[Array, "B T H W C"]
) -> tuple[Float[Array, "B t h w c"], PyTree]:
    out, state = module.apply({"params": params, "cache": cache}, x, mutable=["cache"])
    return out, state["cache"]
