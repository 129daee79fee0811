"""Degraded views with their truth, as files and as training batches on the device.

Views may form clips: then every `length` of them, one after the other, are consecutive frames (see `as_clips`).
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax
from jaxtyping import Float, Int, Key, Shaped

from ff_jax.fixers.self_fit.crops import Triples
from ff_jax.runtime.atomic_files import replacing

REFERENCES = ("aligned", "nearest")


@struct.dataclass
class Pairs:
    """Views of streets as reconstructions render them, and as they are; NumPy arrays, small types."""

    render: Array  # uint8 (N, H, W, 3)
    truth: Array  # uint8 (N, H, W, 3)
    nearest: Array  # uint8 (N, H, W, 3): the recorded image nearest in time, as it is
    aligned: Array  # uint8 (N, H, W, 3): what recorded images show in the view (`generators.align`)
    eig: Array  # float16 (N, H, W): nats
    depth: Array  # float16 (N, H, W): expected camera z, metres
    shift: Array  # float32 (N,): metres to the left of the recorded path; 0 for frames of a log
    steps: Array  # int32 (N,): training steps of the reconstruction
    K: Array  # float32 (N, 3, 3): pixels
    world_from_camera: Array  # float64 (N, 4, 4): metres


def shard_path(folder: str | Path, seed: int) -> Path:
    """Return where the pairs of a street are kept."""
    return Path(folder) / f"street-{seed:05d}.npz"


def save(path: str | Path, pairs: Pairs) -> None:
    """Write pairs into an .npz file that is either whole or absent."""
    with replacing(path) as temporary:
        np.savez(temporary, **vars(pairs))


def load(paths: Sequence[str | Path]) -> Pairs:
    """Return the pairs of some files as one set.

    Raises:
        ValueError: there is no file, or one is damaged or of other arrays.
    """
    parts = [_load(Path(path)) for path in paths]
    if not parts:
        raise ValueError("there are no pairs to load: make some with experiments.fixers.make_pairs.")
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def triples(pairs: Pairs, reference: str = "aligned") -> Triples:
    """Return what a fixer is trained and judged on, still in small types (see `as_colors`).

    Args:
        pairs: any number.
        reference: one of `REFERENCES`.

    Raises:
        ValueError: there is no such reference.
    """
    if reference not in REFERENCES:
        raise ValueError(f"reference={reference!r} is unknown; use one of {', '.join(REFERENCES)}.")
    return Triples(pairs.render, pairs.eig, getattr(pairs, reference), pairs.truth)


def as_clips(stored: Triples, length: int) -> Triples:
    """Return triples whose arrays have the axes (clip, frame, ...): every `length` views are one clip.

    Raises:
        ValueError: the views cannot be cut like this.
    """
    count = len(stored.eigs)
    if count % length:
        raise ValueError(f"{count} views are no clips of {length} frames: make them with --clip={length}.")
    return jax.tree.map(lambda array: array.reshape(count // length, length, *array.shape[1:]), stored)


def as_colors(stored: Triples) -> Triples:
    """Return triples as float32: colours in [0, 1], EIG in nats and not negative."""
    color = lambda image: jnp.asarray(image, jnp.float32) / 255.0
    eigs = jnp.maximum(jnp.asarray(stored.eigs, jnp.float32), 0.0)  # rounding may leave a little below
    return Triples(color(stored.renders), eigs, color(stored.references), color(stored.targets))


@functools.partial(jax.jit, static_argnames=("batch", "crop"))
def draw(key: Key[Array, ""], stored: Triples, batch: int, crop: tuple[int, int]) -> Triples:
    """Return random crops of random triples, or of clips of them, as float32, every second one mirrored.

    Args:
        key: randomness.
        stored: from `triples` or `as_clips`, on the device; frames of a clip are cut alike.
        batch: how many.
        crop: height and width, pixels; cut to the images.
    """
    count, (height, width) = len(stored.eigs), stored.eigs.shape[-2:]
    size = min(crop[0], height), min(crop[1], width)
    which, rows, columns, mirror = jax.random.split(key, 4)
    index = jax.random.randint(which, (batch,), 0, count)
    top = jax.random.randint(rows, (batch,), 0, height - size[0] + 1)
    left = jax.random.randint(columns, (batch,), 0, width - size[1] + 1)
    mirrored = jax.random.bernoulli(mirror, shape=(batch,))

    def cut(images: Shaped[Array, "N *T H W c"]) -> Shaped[Array, "B *T h w c"]:
        return jax.vmap(functools.partial(_crop, images, size))(index, top, left, mirrored)

    eigs = cut(stored.eigs[..., None])[..., 0]
    return as_colors(Triples(cut(stored.renders), eigs, cut(stored.references), cut(stored.targets)))


def psnr(images: Float[Array, "*B H W 3"], truth: Float[Array, "*B H W 3"]) -> Float[Array, "*B"]:
    """Return the peak signal-to-noise ratio of every image, dB."""
    return -10.0 * jnp.log10(jnp.square(images - truth).mean((-3, -2, -1)) + 1e-10)


def _crop(
    images: Shaped[Array, "N *T H W c"],
    size: tuple[int, int],
    index: Int[Array, ""],
    top: Int[Array, ""],
    left: Int[Array, ""],
    mirrored: Shaped[Array, ""],
) -> Shaped[Array, "*T h w c"]:
    _, *frames, _, _, channels = images.shape
    start = (index, *[0] * len(frames), top, left, 0)
    piece = lax.dynamic_slice(images, start, (1, *frames, *size, channels))[0]
    return jnp.where(mirrored, jnp.flip(piece, -2), piece)


def _load(path: Path) -> Pairs:
    names = [field for field in Pairs.__dataclass_fields__]
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Pairs(**{name: arrays[name] for name in names})
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ValueError(
            f"{path} holds no pairs ({error}): delete it and run experiments.fixers.make_pairs again."
        ) from error
