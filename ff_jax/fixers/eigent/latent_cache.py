"""Training clips of the video networks: stored pixels, and their latents, computed once per autoencoder.

The latents of all clips are followed by those of all mirrored clips: sample n + i is clip i, mirrored.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jaxtyping import Float, Int, Key, PyTree, Shaped

from ff_jax.fixers.eigent import model
from ff_jax.fixers.eigent.config import EigentConfig
from ff_jax.fixers.eigent.denoising_loss import Clips
from ff_jax.fixers.triples import Triples, as_colors


@struct.dataclass
class Generated:
    """Clips with the latents that the trained transformer generated for them."""

    clips: Triples  # (B, T, H, W, ...)
    latents: Float[Array, "B f h w C"]


def with_true_start(clips: Triples) -> Triples:
    """Replace the first render and reference of stored clips by the true image, with EIG 0."""
    start = lambda images: np.concatenate([np.asarray(clips.targets[:, :1]), np.asarray(images[:, 1:])], 1)
    eigs = np.array(clips.eigs)
    eigs[:, 0] = 0
    conditions = {name: np.array(images) for name, images in clips.conditions.items()}
    for name, images in conditions.items():
        images[:, 0, ..., :3] = clips.targets[:, 0] if name == "repaired" else images[:, 0, ..., :3]
    changes: dict[str, Any] = {"conditions": conditions}
    changes |= {"renders": start(clips.renders), "references": start(clips.references), "eigs": eigs}
    return dataclasses.replace(clips, **changes)


def pixels(stored: Triples, index: Int[Array, "B"]) -> Triples:
    """Select samples as colors and nats; indices from the number of clips on are mirrored clips."""
    count = len(stored.eigs)
    is_mirrored = index >= count

    def pick(images: Shaped[Array, "N ..."]) -> Shaped[Array, "B ..."]:
        chosen = images[index % count]
        flip = is_mirrored.reshape(-1, *[1] * (images.ndim - 1))
        return jnp.where(flip, jnp.flip(chosen, 3), chosen)

    return as_colors(jax.tree.map(pick, stored))


def encode_all(params: PyTree, stored: Triples, config: EigentConfig, batch: int) -> Clips:
    """Encode all clips and all mirrored clips; the text is the network's own.

    Args:
        params: with "vae", "moments" and "text".
        stored: clips in small types, on the device.
        config: networks.
        batch: clips encoded at once.
    """
    rows = _rows(lambda index: _encode(params, stored, index, config), 2 * len(stored.eigs), batch)
    text = np.broadcast_to(np.asarray(params["text"]), (len(rows[0]), *params["text"].shape))
    clean, render, eig, references = rows[:4]
    if config.is_two_stage:
        return Clips(clean, render, eig, rows[4], jnp.asarray(text), references)
    return Clips(clean, render, eig, references, jnp.asarray(text))


def estimate_moments(params: PyTree, stored: Triples, config: EigentConfig, batch: int) -> dict[str, Float[Array, "C"]]:
    """Estimate mean and deviation of the latents of true clips, per channel."""
    count = params["moments"]["mean"].shape[0]
    plain = params | {"moments": {"mean": jnp.zeros(count), "deviation": jnp.ones(count)}}
    some = jax.tree.map(lambda array: array[:: max(len(array) // 64, 1)], stored)
    flat = encode_all(plain, some, config, batch).clean.reshape(-1, count)
    return {"mean": flat.mean(0), "deviation": flat.std(0)}


def generate_all(
    params: PyTree, key: Key[Array, ""], clips: Clips, config: EigentConfig, batch: int
) -> Float[Array, "N f h w C"]:
    """Generate latents from the renders of all samples."""

    def make(index: Int[Array, "B"]) -> tuple[Array]:
        some: Clips = jax.tree.map(lambda array: array[index], clips)
        return (_generate(params, jax.random.fold_in(key, index[0]), some, config),)

    return _rows(make, len(clips.eig), batch)[0]


def draw_samples(key: Key[Array, ""], samples: PyTree, batch: int) -> PyTree:
    """Draw random samples."""
    index = jax.random.randint(key, (batch,), 0, len(jax.tree.leaves(samples)[0]))
    return jax.tree.map(lambda array: array[index], samples)


def _rows(function: Callable[[Array], tuple[Array, ...]], count: int, batch: int) -> list[Array]:
    """Compute the results for all indices, `batch` at a time; the last batch is padded, to compile once."""
    starts = range(0, count, batch)
    parts = [function(jnp.minimum(jnp.arange(start, start + batch), count - 1)) for start in starts]
    return [jnp.concatenate(arrays)[:count] for arrays in zip(*parts, strict=True)]


@functools.partial(jax.jit, static_argnames="config")
def _encode(params: PyTree, stored: Triples, index: Int[Array, "B"], config: EigentConfig) -> tuple[Array, ...]:
    clips = pixels(stored, index)
    encode = lambda video: model.encode(params, video, config)
    eig = model.eig_condition(clips.eigs, config)
    more = (encode(clips.conditions["repaired"][..., :3]),) if config.is_two_stage else ()
    return encode(clips.targets), encode(clips.renders), eig, encode(clips.references), *more


@functools.partial(jax.jit, static_argnames="config")
def _generate(params: PyTree, key: Key[Array, ""], clips: Clips, config: EigentConfig) -> Float[Array, "B f h w C"]:
    inputs = clips.render, clips.eig, clips.reference
    return model.generate(params, key, *inputs, config, recorded=clips.recorded)
