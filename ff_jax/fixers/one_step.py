"""The frames of the one-step fixer as a condition of the video fixer (FaithFusion, section 3.2)."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Num, UInt8

from ff_jax.fixers.conditions import Conditions
from ff_jax.fixers.fixer import Fixer, fix
from ff_jax.fixers.pretrained import load_fixer
from ff_jax.fixers.triples import Triples, as_bytes, from_bytes

REPAIRED = "repaired"


@functools.cache
def one_step_fixer() -> Fixer:
    """Load the shipped one-step fixer; its references are those of `reprojection.align`, as the video fixer's are."""
    return load_fixer("difix")


def repaired_condition(
    frames: Num[Array | np.ndarray, "T H W 3"],
    eig: Float[Array | np.ndarray, "T H W"],
    references: Num[Array | np.ndarray, "T H W 3"],
) -> UInt8[np.ndarray, "T H W 4"]:
    """Repair frames one by one; the result has the channels of the condition "repaired".

    Args:
        frames: renders, colors in [0, 1] or bytes.
        eig: nats.
        references: from `reprojection.align`, colors in [0, 1] or bytes.
    """
    eig = jnp.maximum(jnp.asarray(eig, jnp.float32), 0.0)
    fixed = fix(one_step_fixer(), jax.random.key(0), from_bytes(frames), eig, from_bytes(references))
    return np.pad(np.asarray(as_bytes(fixed)), ((0, 0),) * 3 + ((0, 1),), constant_values=255)


def with_repaired(
    fixer: Fixer,
    conditions: Conditions,
    frames: Num[Array | np.ndarray, "T H W 3"],
    eig: Float[Array | np.ndarray, "T H W"],
    references: Num[Array | np.ndarray, "T ..."],
) -> Conditions:
    """Add the frames of the one-step fixer to conditions, if `fixer` takes them."""
    if REPAIRED not in fixer.conditions:
        return conditions
    return {**conditions, REPAIRED: repaired_condition(frames, eig, references)}


def clips_with_repaired(clips: Triples) -> Triples:
    """Add the frames of the one-step fixer to stored clips (N, T, H, W, ...) with aligned references."""
    parts = zip(clips.renders, clips.eigs, clips.references, strict=True)
    repaired = np.stack([repaired_condition(*part) for part in parts])
    return dataclasses.replace(clips, conditions={**clips.conditions, REPAIRED: repaired})
