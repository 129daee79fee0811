"""Degraded views with their true images: files, and random training batches on the device.

Views may form clips: then every `length` consecutive views are consecutive frames (see `as_clips`).
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax
from jaxtyping import Bool, Float16, Float32, Float64, Int, Int32, Key, Shaped, UInt8

from ff_jax.fixers.triples import Triples, as_colors
from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.runtime.untrusted_files import read_npz, reason

REFERENCES = ("separate", "aligned", "nearest")


@struct.dataclass
class Pairs:
    """Views of streets or logs, as reconstructions render them and as they truly are; small types."""

    render: UInt8[np.ndarray, "N H W 3"]
    truth: UInt8[np.ndarray, "N H W 3"]
    nearest: UInt8[np.ndarray, "N H W 3"]  # the recorded image nearest in time, unchanged
    separate: UInt8[np.ndarray, "N K H W 4"]  # recorded images re-projected into the view (`reprojection.align_each`)
    weight: UInt8[np.ndarray, "N H W"]  # 0 on what moves without a box, and on the ego vehicle; 255 elsewhere
    eig: Float16[np.ndarray, "N H W"]  # nats
    depth: Float16[np.ndarray, "N H W"]  # expected camera z, meters
    shift: Float32[np.ndarray, "N"]  # meters to the left of the recorded path; 0 for frames of a log
    steps: Int32[np.ndarray, "N"]  # training steps of the reconstruction
    K: Float32[np.ndarray, "N 3 3"]  # pixels
    world_from_camera: Float64[np.ndarray, "N 4 4"]  # meters


def shard_path(folder: str | Path, seed: int) -> Path:
    """Name the file that holds the pairs of a street."""
    return Path(folder) / f"street-{seed:05d}.npz"


def save(path: str | Path, pairs: Pairs) -> None:
    """Write pairs into an .npz file, atomically."""
    with atomic_write(path) as temporary:
        np.savez(temporary, **vars(pairs))


def load(paths: Sequence[str | Path]) -> Pairs:
    """Read the pairs of several files as one set.

    Raises:
        ValueError: there is no file, or one is damaged or holds other arrays.
    """
    parts = [_load(Path(path)) for path in paths]
    if not parts:
        raise ValueError("there are no pairs to load: make some with experiments.fixers.make_pairs.")
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def aligned(pairs: Pairs) -> UInt8[np.ndarray, "N H W 3"]:
    """Blend the merged reference of every view into its render, as `reprojection.align` does."""
    render, merged = pairs.render.astype(np.float32), pairs.separate[:, 0].astype(np.float32)
    return np.rint(render + merged[..., 3:] / 255.0 * (merged[..., :3] - render)).astype(np.uint8)


def triples(pairs: Pairs, reference: str = "aligned") -> Triples:
    """Select what a fixer is trained and evaluated on, still in small types (see `triples.as_colors`).

    Args:
        pairs: any number.
        reference: one of `REFERENCES`.

    Raises:
        ValueError: the reference is unknown.
    """
    if reference not in REFERENCES:
        raise ValueError(f"invalid reference={reference!r}: expected one of {', '.join(REFERENCES)}.")
    references = aligned(pairs) if reference == "aligned" else getattr(pairs, reference)
    stored: tuple[Any, ...] = (pairs.render, pairs.eig, references, pairs.truth, pairs.weight)
    return Triples(*stored)


def as_clips(stored: Triples, length: int) -> Triples:
    """Reshape triples to the axes (clip, frame, ...): every `length` views are one clip.

    Raises:
        ValueError: `length` does not divide the number of views.
    """
    count = len(stored.eigs)
    if count % length:
        raise ValueError(f"{count} views are not clips of {length} frames: make them with --clip={length}.")
    return jax.tree.map(lambda array: array.reshape(count // length, length, *array.shape[1:]), stored)


@functools.partial(jax.jit, static_argnames=("batch", "crop"))
def draw_crops(key: Key[Array, ""], stored: Triples, batch: int, crop: tuple[int, int]) -> Triples:
    """Draw random crops of random triples or clips as float32; each is mirrored with probability 1/2.

    Args:
        key: random key.
        stored: from `triples` or `as_clips`, on the device; all frames of a clip are cropped alike, and so are all
            references of a view.
        batch: number of crops.
        crop: height and width, pixels; cut to the images.
    """
    count, (height, width) = len(stored.eigs), stored.eigs.shape[-2:]
    size = min(crop[0], height), min(crop[1], width)
    sample_key, row_key, column_key, mirror_key = jax.random.split(key, 4)
    index = jax.random.randint(sample_key, (batch,), 0, count)
    top = jax.random.randint(row_key, (batch,), 0, height - size[0] + 1)
    left = jax.random.randint(column_key, (batch,), 0, width - size[1] + 1)
    is_mirrored = jax.random.bernoulli(mirror_key, shape=(batch,))

    def crop_all(images: Shaped[Array, "N *T H W c"]) -> Shaped[Array, "B *T h w c"]:
        return jax.vmap(functools.partial(_crop, images, size))(index, top, left, is_mirrored)

    def crop_plane(plane: Shaped[Array, "N *T H W"]) -> Shaped[Array, "B *T h w"]:
        return crop_all(plane[..., None])[..., 0]

    crops = Triples(
        renders=crop_all(stored.renders),
        eigs=crop_plane(stored.eigs),
        references=crop_all(stored.references),
        targets=crop_all(stored.targets),
        weights=None if stored.weights is None else crop_plane(stored.weights),
        blend_eigs=None if stored.blend_eigs is None else crop_plane(stored.blend_eigs),
        weight_eigs=None if stored.weight_eigs is None else crop_plane(stored.weight_eigs),
        conditions={name: crop_all(images) for name, images in stored.conditions.items()},
    )
    return as_colors(crops)


def _crop(
    images: Shaped[Array, "N *T H W c"],
    size: tuple[int, int],
    index: Int[Array, ""],
    top: Int[Array, ""],
    left: Int[Array, ""],
    is_mirrored: Bool[Array, ""],
) -> Shaped[Array, "*T h w c"]:
    _, *frames, _, _, channels = images.shape
    start = (index, *[0] * len(frames), top, left, 0)
    piece = lax.dynamic_slice(images, start, (1, *frames, *size, channels))[0]
    return jnp.where(is_mirrored, jnp.flip(piece, -2), piece)


def _load(path: Path) -> Pairs:
    try:
        arrays = read_npz(path)
        return Pairs(**{name: arrays[name] for name in Pairs.__dataclass_fields__})
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{path} holds no pairs ({reason(error)}): delete it and run experiments.fixers.make_pairs again."
        ) from error
