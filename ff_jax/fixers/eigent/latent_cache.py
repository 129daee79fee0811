"""Clips to train the video networks on: pixels as they are stored, and their latents, made once per autoencoder.

Latents of every clip are followed by those of all clips mirrored: sample n + i is clip i mirrored.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jaxtyping import Float, Int, Key, PyTree

from ff_jax.fixers.eigent import model
from ff_jax.fixers.eigent.config import EigentConfig
from ff_jax.fixers.eigent.denoising_loss import Clips
from ff_jax.fixers.pair_files import as_colors
from ff_jax.fixers.self_fit.crops import Triples


@struct.dataclass
class Generated:
    """Clips with the latents that the trained transformer made of them."""

    clips: Triples  # (B, T, H, W, ...)
    latents: Float[Array, "B f h w C"]


def given_start(clips: Triples) -> Triples:
    """Return stored clips whose first frame is the true image, its render and its reference, of EIG 0."""
    start = lambda images: np.concatenate([np.asarray(clips.targets[:, :1]), np.asarray(images[:, 1:])], 1)
    eigs = np.array(clips.eigs)
    eigs[:, 0] = 0
    return clips.replace(renders=start(clips.renders), references=start(clips.references), eigs=eigs)


def pixels(stored: Triples, index: Int[Array, "B"]) -> Triples:
    """Return samples as colours and nats; those from the number of clips on are mirrored."""
    count = len(stored.eigs)
    mirrored = index >= count

    def pick(images: Array) -> Array:
        chosen = images[index % count]
        flip = mirrored.reshape(-1, *[1] * (images.ndim - 1))
        return jnp.where(flip, jnp.flip(chosen, 3), chosen)

    return as_colors(jax.tree.map(pick, stored))


def latents(params: PyTree, stored: Triples, config: EigentConfig, batch: int) -> Clips:
    """Return the latents of all clips and of all clips mirrored; the text is the network's own.

    Args:
        params: with "vae", "moments" and "text".
        stored: clips in small types, on the device.
        config: networks.
        batch: clips encoded at once.
    """
    rows = _rows(lambda index: _encoded(params, stored, index, config), 2 * len(stored.eigs), batch)
    text = np.broadcast_to(np.asarray(params["text"]), (len(rows[0]), *params["text"].shape))
    return Clips(*rows, jnp.asarray(text))


def moments(params: PyTree, stored: Triples, config: EigentConfig, batch: int) -> dict[str, Float[Array, "C"]]:
    """Return mean and deviation of the latents of true clips, channel by channel."""
    count = params["moments"]["mean"].shape[0]
    plain = params | {"moments": {"mean": jnp.zeros(count), "deviation": jnp.ones(count)}}
    some = jax.tree.map(lambda array: array[:: max(len(array) // 64, 1)], stored)
    flat = latents(plain, some, config, batch).clean.reshape(-1, count)
    return {"mean": flat.mean(0), "deviation": flat.std(0)}


def generated(
    params: PyTree, key: Key[Array, ""], clips: Clips, config: EigentConfig, batch: int
) -> Float[Array, "N f h w C"]:
    """Return what the transformer makes of the renders of all samples."""

    def make(index: Array) -> tuple[Array]:
        render, eig, reference = (array[index] for array in (clips.render, clips.eig, clips.reference))
        return (_generate(params, jax.random.fold_in(key, index[0]), render, eig, reference, config),)

    return _rows(make, len(clips.eig), batch)[0]


def take(key: Key[Array, ""], samples: PyTree, batch: int) -> PyTree:
    """Return random samples."""
    index = jax.random.randint(key, (batch,), 0, len(jax.tree.leaves(samples)[0]))
    return jax.tree.map(lambda array: array[index], samples)


def _rows(function: Callable[[Array], tuple[Array, ...]], count: int, batch: int) -> list[Array]:
    """Return the results for all indices, `batch` at a time; the last ones are filled up, to compile once."""
    starts = range(0, count, batch)
    parts = [function(jnp.minimum(jnp.arange(start, start + batch), count - 1)) for start in starts]
    return [jnp.concatenate(arrays)[:count] for arrays in zip(*parts, strict=True)]


@functools.partial(jax.jit, static_argnames="config")
def _encoded(params: PyTree, stored: Triples, index: Array, config: EigentConfig) -> tuple[Array, ...]:
    clips = pixels(stored, index)
    encode = lambda video: model.encode(params, video, config)
    seen = model.known(clips.eigs, config)
    return encode(clips.targets), encode(clips.renders), seen, encode(clips.references)


@functools.partial(jax.jit, static_argnames="config")
def _generate(params: PyTree, key: Array, render: Array, eig: Array, reference: Array, config: EigentConfig) -> Array:
    return model.generate(params, key, render, eig, reference, config)
