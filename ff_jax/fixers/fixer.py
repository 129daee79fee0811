"""What a fixer is: a pure function that repairs rendered frames, with its parameters as a pytree.

A fixer gets the frames rendered away from the recorded path, their EIG maps, and the real images of the same
times at the recorded poses. Those references show the scene from beside. A fixer that is `aligned` wants them
re-projected into the rendered views (see `generators.align`); for every other one they are left as they are.

Frames of a clip are consecutive. A video fixer builds on it: its pieces start with the last frames of the one before,
and where it has a `lead`, its clips start at the recorded pose with the real image (see `anchored`).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from jaxtyping import ArrayLike, Float, Key, PyTree

# apply(config, params, key, frames (T,H,W,3), eig (T,H,W), references (T,H,W,3)) -> frames (T,H,W,3)
Apply = Callable[[Any, PyTree, Array, Array, Array, Array], Array]


@struct.dataclass
class Fixer:
    """A named repair function, its parameters and its static settings.

    `apply` must be a module-level function and `config` hashable: with `name` and `chunk` they are the key
    under which `fix` compiles once. Every `apply` blends by EIG itself (see `blend`): its result is final,
    and is the render wherever EIG vanishes.
    """

    params: PyTree  # any pytree; the shardings of its leaves are kept
    name: str = struct.field(pytree_node=False)
    apply: Apply = struct.field(pytree_node=False)
    config: Any = struct.field(pytree_node=False, default=None)
    aligned: bool = struct.field(pytree_node=False, default=False)  # references come from `align`
    chunk: int = struct.field(pytree_node=False, default=0)  # frames `apply` gets at once; 0: the whole clip
    overlap: int = struct.field(pytree_node=False, default=0)  # of them, repaired with the piece before
    lead: int = struct.field(pytree_node=False, default=0)  # frames that slide from the recorded pose to a path's first


def fix(
    fixer: Fixer,
    key: Key[Array, ""],
    frames: Float[ArrayLike, "T H W 3"],
    eig: Float[ArrayLike, "T H W"],
    references: Float[ArrayLike, "T H W 3"],
) -> Float[Array, "T H W 3"]:
    """Repair a clip of any length with `fixer`.

    The clip is cut into pieces of `fixer.chunk` frames, the last one filled up by repeating its last frame,
    so that one compilation serves every length and only one piece at a time is in work. A piece starts with the last
    `fixer.overlap` repaired frames of the one before, as render and reference of EIG 0. Piece i draws from
    `fold_in(key, i)`. Inputs may be NumPy arrays (moved piece by piece) or sharded JAX arrays.

    Args:
      fixer: the repair function.
      key: randomness of generative fixers.
      frames: renders, colours in [0, 1].
      eig: EIG of every rendered pixel, nats.
      references: real images of the same times at the recorded poses, colours in [0, 1]; if `fixer.aligned`,
        the result of `align` instead.

    Returns:
      The repaired frames.

    Raises:
      ValueError: the clip is empty or the three shapes do not belong together.
    """
    check_clip(frames, eig, references)
    length = frames.shape[0]
    chunk = fixer.chunk or length
    pieces, shared = [], fixer.overlap if fixer.chunk else 0
    for index, start in enumerate(range(0, max(length - shared, 1), chunk - shared)):
        inputs = [_piece(array, start, chunk) for array in (frames, eig, references)]
        given = shared if index else 0
        if given:
            inputs = anchored(*inputs, pieces[-1][-given:])
        pieces.append(_apply(fixer, jax.random.fold_in(key, index), *inputs)[given:])
    return jnp.concatenate(pieces)[:length]


def anchored(
    frames: Float[ArrayLike, "T H W 3"],
    eig: Float[ArrayLike, "T H W"],
    references: Float[ArrayLike, "T H W 3"],
    images: Float[ArrayLike, "n _ _ 3"],
) -> tuple[Float[Array, "T H W 3"], Float[Array, "T H W"], Float[Array, "T H W 3"]]:
    """Return a clip whose first frames are given: `images` are their renders and references, and their EIG is 0."""
    frames, eig, references = map(jnp.asarray, (frames, eig, references))
    count = len(images)
    put = lambda array: array.at[:count].set(images)
    return put(frames), eig.at[:count].set(0.0), put(references)


def check_clip(frames: ArrayLike, eig: ArrayLike, references: ArrayLike) -> None:
    """Raise `ValueError` unless frames (T,H,W,3), eig (T,H,W) and references (T,H,W,3) form one clip."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"frames must be a non-empty (T, H, W, 3) clip, got shape {frames.shape}.")
    if eig.shape != frames.shape[:3]:
        raise ValueError(f"eig has shape {eig.shape}, frames {frames.shape}: pass one EIG map of {frames.shape[:3]}.")
    if references.shape != frames.shape:
        raise ValueError(
            f"references have shape {references.shape}, frames {frames.shape}: resize the real images to the "
            "size of the frames and pass one of the same time for each."
        )


def _piece(array: ArrayLike, start: int, chunk: int) -> ArrayLike:
    piece = array[start : start + chunk]
    missing = chunk - piece.shape[0]
    if missing == 0:
        return piece
    return jnp.concatenate([piece, jnp.repeat(piece[-1:], missing, 0)])


@jax.jit
def _apply(fixer: Fixer, key: Array, frames: Array, eig: Array, references: Array) -> Array:
    return fixer.apply(fixer.config, fixer.params, key, frames, eig, references)
