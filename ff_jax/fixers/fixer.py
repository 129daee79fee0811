"""The protocol of fixers: a fixer is a pure function that repairs rendered frames, with its parameters as a pytree.

A fixer takes frames rendered away from the recorded path, their EIG maps, and references: the real images of the same
times at the recorded poses, (T, H, W, 3). With `use_aligned_references` the references must be re-projected into the
rendered views first (see `reprojection.align`). With `use_separate_references` they are several re-projected images per
view with their confidence, (T, K, H, W, 4), as floats in [0, 1] or bytes (see `reprojection.align_each`). A fixer that
names `conditions` also gets these images (see `conditions`).

The frames of a clip are consecutive. For video fixers a clip is cut into pieces, and each piece starts with the last
repaired frames of the piece before (`overlap`). A path starts with `num_context_frames` views between the recorded pose
and its own first pose; the first of them is the real image (see `with_context_frames`).
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jaxtyping import Float, Key, Num, PyTree

from ff_jax.fixers.conditions import Conditions, check_conditions
from ff_jax.fixers.triples import Triples, from_bytes

AnyArray = Array | np.ndarray

# apply(config, params, key, frames (T,H,W,3), eig (T,H,W), references (T,H,W,3) or (T,K,H,W,4)) -> frames (T,H,W,3);
# a fixer with conditions takes them as one more argument. With an argument `blend_eig` (T,H,W), its repair can be
# blended by another map than `eig`.
Apply = Callable[..., Array]


SOURCES = ("render", "near", "lidar")


@struct.dataclass
class Fixer:
    """A named repair function with its parameters and static settings.

    `apply` must be a module-level function and `config` hashable: with `name` and `chunk` they are the key under which
    `fix` compiles once. Every `apply` blends by EIG itself (see `blending.blend`), so its result equals the render
    wherever EIG is zero.
    """

    params: PyTree  # the shardings of its leaves are kept
    name: str = struct.field(pytree_node=False)
    apply: Apply = struct.field(pytree_node=False)
    config: Any = struct.field(pytree_node=False, default=None)
    use_aligned_references: bool = struct.field(pytree_node=False, default=False)  # from `reprojection.align`
    use_separate_references: bool = struct.field(pytree_node=False, default=False)  # from `reprojection.align_each`
    chunk: int = struct.field(pytree_node=False, default=0)  # frames per call of `apply`; 0: the whole clip
    overlap: int = struct.field(pytree_node=False, default=0)  # frames of a piece that the piece before has repaired
    num_context_frames: int = struct.field(pytree_node=False, default=0)  # views from the recorded pose to the path
    conditions: tuple[str, ...] = struct.field(pytree_node=False, default=())  # names, see `conditions.CHANNELS`
    source: str = struct.field(pytree_node=False, default=SOURCES[0])  # what is repaired, see `pipeline.sources`


def fix(
    fixer: Fixer,
    key: Key[Array, ""],
    frames: Float[AnyArray, "T H W 3"],
    eig: Float[AnyArray, "T H W"],
    references: Num[AnyArray, "T ..."],
    conditions: Conditions | None = None,
    blend_eig: Float[AnyArray, "T H W"] | None = None,
) -> Float[Array, "T H W 3"]:
    """Repair a clip of any length.

    The clip is cut into pieces of `fixer.chunk` frames, so that one compilation serves every length and memory holds
    one piece at a time. The last piece is padded by its last frame. Each piece starts with the last `fixer.overlap`
    repaired frames of the piece before, as renders and references of zero EIG. Piece i uses `fold_in(key, i)`. NumPy
    arrays are moved to the device piece by piece; sharded JAX arrays are accepted, too.

    Args:
      fixer: the repair function.
      key: random key of generative fixers.
      frames: renders, colors in [0, 1].
      eig: EIG of every rendered pixel, nats.
      references: real images of the same times at the recorded poses, colors in [0, 1]; with
        `fixer.use_aligned_references`, the result of `reprojection.align` (T, H, W, 3), and with
        `fixer.use_separate_references`, that of `reprojection.align_each` (T, K, H, W, 4), which may be bytes.
      conditions: images by name, for a fixer that takes them.
      blend_eig: the map (nats) by which the repair is blended into the render, where it is not `eig`.

    Returns:
      The repaired frames, colors in [0, 1].

    Raises:
      ValueError: the clip is empty or the shapes do not belong together, or the fixer takes no `blend_eig`.
    """
    check_clip(frames, eig, references, fixer.use_separate_references)
    check_conditions(fixer.conditions, conditions or {}, frames.shape[:3])
    taken = {name: (conditions or {})[name] for name in fixer.conditions}
    if blend_eig is not None:
        _check_blend(fixer, eig, blend_eig)
    length = frames.shape[0]
    chunk = fixer.chunk or length
    pieces, overlap = [], fixer.overlap if fixer.chunk else 0
    for index, start in enumerate(range(0, max(length - overlap, 1), chunk - overlap)):
        own_frames, own_eig, own_references = (_piece(array, start, chunk) for array in (frames, eig, references))
        own_blend = None if blend_eig is None else _piece(blend_eig, start, chunk)
        inputs = own_frames, own_eig, own_references
        context = overlap if index else 0
        if context:
            inputs = with_context_frames(own_frames, own_eig, own_references, pieces[-1][-context:])
            own_blend = None if own_blend is None else without_context(own_blend, context)
        own_conditions = {name: _piece(array, start, chunk) for name, array in taken.items()}
        pieces.append(_apply(fixer, jax.random.fold_in(key, index), *inputs, own_conditions, own_blend)[context:])
    return jnp.concatenate(pieces)[:length]


def fix_triples(fixer: Fixer, key: Key[Array, ""], triples: Triples) -> Float[Array, "T H W 3"]:
    """Repair the renders of triples, whose colors may be bytes; they are one clip."""
    references = triples.references if fixer.use_separate_references else from_bytes(triples.references)
    eig = jnp.asarray(triples.eigs, jnp.float32)
    blend_eig = None if triples.blend_eigs is None else jnp.asarray(triples.blend_eigs, jnp.float32)
    return fix(fixer, key, from_bytes(triples.renders), eig, references, triples.conditions, blend_eig)


def with_context_frames(
    frames: Float[AnyArray, "T H W 3"],
    eig: Float[AnyArray, "T H W"],
    references: Float[AnyArray, "T H W 3"],
    images: Float[AnyArray, "n _ _ 3"],
) -> tuple[Float[Array, "T H W 3"], Float[Array, "T H W"], Float[Array, "T H W 3"]]:
    """Replace the first n frames and references of a clip by `images`, and their EIG by zero."""
    frames, eig, references = map(jnp.asarray, (frames, eig, references))
    count = len(images)
    return frames.at[:count].set(images), without_context(eig, count), references.at[:count].set(images)


def without_context(eig: Float[AnyArray, "T H W"], count: int) -> Float[Array, "T H W"]:
    """Set the EIG of the first frames of a clip to zero."""
    return jnp.asarray(eig).at[:count].set(0.0)


def check_clip(
    frames: Num[AnyArray, "..."],
    eig: Float[AnyArray, "..."],
    references: Num[AnyArray, "..."],
    are_separate: bool = False,
) -> None:
    """Raise `ValueError` unless frames (T,H,W,3), eig (T,H,W) and references form one clip.

    References have the shape of the frames, or (T,K,H,W,4) if they `are_separate`.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"frames must be a non-empty (T, H, W, 3) clip, got shape {frames.shape}.")
    if eig.shape != frames.shape[:3]:
        raise ValueError(f"eig has shape {eig.shape}, frames {frames.shape}: pass one EIG map of {frames.shape[:3]}.")
    if are_separate:
        _check_separate(frames.shape, references.shape)
    elif references.shape != frames.shape:
        raise ValueError(
            f"references have shape {references.shape}, frames {frames.shape}: resize the real images to the "
            "size of the frames and pass one of the same time for each."
        )


def _check_separate(frames: tuple[int, ...], references: tuple[int, ...]) -> None:
    length, height, width, _ = frames
    if len(references) != 5 or (references[0], *references[2:]) != (length, height, width, 4):
        raise ValueError(
            f"references have shape {references}, frames {frames}: pass several re-projected images per frame with "
            f"their confidence, ({length}, K, {height}, {width}, 4), from `reprojection.align_each`."
        )


def _check_blend(fixer: Fixer, eig: Float[AnyArray, "..."], blend_eig: Float[AnyArray, "..."]) -> None:
    if blend_eig.shape != eig.shape:
        raise ValueError(f"blend_eig has shape {blend_eig.shape}, eig {eig.shape}: pass two maps of the same pixels.")
    if "blend_eig" not in inspect.signature(fixer.apply).parameters:
        raise ValueError(
            f"fixer {fixer.name!r} takes no blend_eig: use one signal for guidance and blending, or add this argument "
            "to its `apply`."
        )


def _piece(array: Num[AnyArray, "..."], start: int, chunk: int) -> Num[AnyArray, "..."]:
    piece = array[start : start + chunk]
    missing = chunk - piece.shape[0]
    return jnp.concatenate([piece, jnp.repeat(piece[-1:], missing, 0)]) if missing else piece


@jax.jit
def _apply(
    fixer: Fixer,
    key: Key[Array, ""],
    frames: Float[Array, "T H W 3"],
    eig: Float[Array, "T H W"],
    references: Num[Array, "T ..."],
    conditions: dict[str, Array],
    blend_eig: Float[Array, "T H W"] | None,
) -> Float[Array, "T H W 3"]:
    more = (conditions,) if fixer.conditions else ()
    blend = {} if blend_eig is None else {"blend_eig": blend_eig}
    return fixer.apply(fixer.config, fixer.params, key, frames, eig, references, *more, **blend)
