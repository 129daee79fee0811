"""What a fixer gets for views off the recorded path, in one place for fix events and for repairs after rendering."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, UInt8

from ff_jax.data.scene_data import Frame
from ff_jax.eig.scene_posterior import EigRender
from ff_jax.eig.signals import RecordedScene
from ff_jax.fixers.conditions import Conditions
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.one_step import with_repaired
from ff_jax.pipeline.conditions import make_conditions
from ff_jax.pipeline.references import references_for
from ff_jax.pipeline.signals import Signals, Steering, steering
from ff_jax.pipeline.sources import source_frames
from ff_jax.scene import View


class NovelClip(NamedTuple):
    """Views off the recorded path, in the order of a clip."""

    views: Sequence[View]
    frames: Sequence[Frame]  # the same views as frames: recorded ones, moved
    nearest: Sequence[int]  # for each view, the index of the recorded frame of about the same time


class FixerInputs(NamedTuple):
    """The inputs of `fixers.fixer.fix`, and the signal of the loss weight."""

    frames: Float[Array, "T H W 3"]  # to repair
    guidance: Float[Array, "T H W"]  # nats, or a signal on the scale of EIG
    references: Float[Array, "T H W 3"] | UInt8[Array, "T K H W 4"]
    conditions: Conditions
    blend: Float[Array, "T H W"] | None  # by which the repair replaces the render; None: `guidance`
    weight: Float[Array, "T H W"]  # of the loss on pseudo-views


def fixer_inputs(
    fixer: Fixer, clip: EigRender, novel: NovelClip, recorded: RecordedScene, signals: Signals | None
) -> FixerInputs:
    """Make the inputs of a fixer for rendered views.

    Args:
        fixer: says which references and conditions it takes, and what it repairs.
        clip: renders of the views.
        novel: the views.
        recorded: the scene and its recorded views.
        signals: the signals of the scene; None takes exact EIG for every use.
    """
    batches, posterior = recorded.batches, recorded.posterior
    references = references_for(fixer, clip, novel.views, novel.nearest, posterior, batches)
    conditions = make_conditions(fixer.conditions, batches.recording, novel.frames, novel.views, recorded.model)
    maps = Steering(clip.eig, None, clip.eig)
    if signals is not None:
        maps = steering(signals, clip, novel.views, novel.frames)
    frames = source_frames(fixer.source, clip, conditions)
    conditions = with_repaired(fixer, conditions, frames, maps.guidance, references)
    # Without a render there is nothing to keep: the repair replaces every pixel.
    blend = maps.blend if fixer.source == "render" else jnp.full_like(clip.eig, jnp.inf)
    return FixerInputs(frames, maps.guidance, references, conditions, blend, maps.weight)
