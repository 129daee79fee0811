"""Condition images: what a fixer may see beside render, EIG and references. `pipeline.conditions` makes them.

A fixer names the conditions that it takes. Each is an image per frame whose last channel is 1 where the condition is
given and 0 where it is left out, so that one network serves all subsets of its conditions.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key, Num

from ff_jax.fixers.triples import from_bytes

# Channels of every condition, without the last one that says whether it is given.
CHANNELS = {
    "lidar": 4,  # colored points of several sweeps, and 1 where there is a point (`data.points.colored`)
    "boxes": 3,  # edges of boxes by category (`pipeline.canvases`)
    "lanes": 3,  # lines of the map by kind (`pipeline.canvases`)
    "opacity": 1,  # accumulated opacity of the render
    "repaired": 3,  # the frames, repaired one by one by the one-step fixer (`fixers.one_step`)
}

Conditions = Mapping[str, Num[Array | np.ndarray, "T H W _"]]


def check_names(names: Sequence[str]) -> None:
    """Raise `ValueError` unless all conditions exist, each once."""
    for name in names:
        if name not in CHANNELS or list(names).count(name) > 1:
            raise ValueError(f"invalid conditions={tuple(names)}: expected some of {', '.join(CHANNELS)}, each once.")


def num_channels(names: Sequence[str]) -> int:
    """Count the channels of some conditions together."""
    return sum(CHANNELS[name] + 1 for name in names)


def stack_conditions(names: Sequence[str], conditions: Conditions) -> Float[Array, "T H W C"]:
    """Concatenate condition images as floats in [0, 1], in the order of their names."""
    return jnp.concatenate([from_bytes(conditions[name]) for name in names], -1)


def leave_out(key: Key[Array, ""], conditions: Conditions, probability: float) -> dict[str, Array]:
    """Leave out each condition of each frame at random: all its channels become 0."""

    def leave_out_one(number: int, images: Num[Array, "B H W C"]) -> Num[Array, "B H W C"]:
        is_kept = jax.random.bernoulli(jax.random.fold_in(key, number), 1.0 - probability, (images.shape[0], 1, 1, 1))
        return jnp.where(is_kept, images, 0)

    ordered = {name: jnp.asarray(conditions[name]) for name in sorted(conditions)}
    return {name: leave_out_one(number, images) for number, (name, images) in enumerate(ordered.items())}


def check_conditions(names: Sequence[str], conditions: Conditions, size: tuple[int, ...]) -> None:
    """Raise `ValueError` unless the conditions are those of `names`, of `size` (T, H, W)."""
    for name in names:
        shape = tuple(conditions[name].shape) if name in conditions else "is missing"
        if shape != (*size, CHANNELS[name] + 1):
            raise ValueError(
                f"condition {name!r} {f'has shape {shape}' if name in conditions else shape}: the fixer takes "
                f"{(*size, CHANNELS[name] + 1)}, from `pipeline.conditions`."
            )
