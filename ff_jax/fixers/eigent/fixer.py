"""The video networks as a fixer of clips of any length and size."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key, PyTree

from ff_jax.eig import eig_weight
from ff_jax.fixers.blending import blend
from ff_jax.fixers.conditions import Conditions
from ff_jax.fixers.eigent import detail_decoder, model
from ff_jax.fixers.eigent.config import EigentConfig
from ff_jax.fixers.eigent.detail_decoder import Change
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.model_size import pad, resize, round_up, working_size
from ff_jax.fixers.triples import from_bytes


def fixer_from_params(params: PyTree, config: EigentConfig) -> Fixer:
    """Build the fixer of these parameters (see `model.init`).

    It repairs `config.frames` frames at once, and the first of them comes from the piece before. A path starts with
    `config.num_context_frames` views from the recorded pose.
    """
    return Fixer(
        params,
        "eigent",
        apply,
        config,
        use_aligned_references=config.use_aligned_references,
        chunk=config.frames,
        overlap=1,
        num_context_frames=config.num_context_frames,
        conditions=config.conditions,
    )


def apply(
    config: EigentConfig,
    params: PyTree,
    key: Key[Array, ""],
    frames: Float[Array, "T H W 3"],
    eig: Float[Array, "T H W"],
    references: Float[Array, "T H W 3"],
    conditions: Conditions | None = None,
    blend_eig: Float[Array, "T H W"] | None = None,
) -> Float[Array, "T H W 3"]:
    """Repair `config.frames` frames of any size: render + blend weight(EIG) (repair - render).

    Frames larger than `config.size` are scaled into it with their aspect; smaller frames, too, if the positions are
    learned. The change is scaled back, so nothing else loses detail. The networks take the first frame as given.
    """
    eig = jnp.maximum(eig, 0.0)  # rounding may give small negative values
    references = references if config.use_references else frames
    size = frames.shape[1], frames.shape[2]
    scaled = working_size(size, config.size, enlarge=config.has_fixed_size)
    canvas = config.size if config.has_fixed_size else round_up(scaled, config.stride)
    videos = [frames, eig, references]
    if config.is_two_stage:  # the first frame is given: nothing repairs it
        videos.append(from_bytes((conditions or {})["repaired"])[..., :3].at[0].set(frames[0]))
    clip, clip_eig, clip_references, *repaired = (pad(resize(x, scaled), canvas)[None] for x in videos)
    change = model.repair(params, key, clip, clip_eig, clip_references, config, *repaired)
    full = Change(*(resize(part[0, :, : scaled[0], : scaled[1]], size) for part in change))
    fixed = jnp.clip(detail_decoder.apply(full, frames, references), 0.0, 1.0)
    return blend(fixed, frames, config.blend * eig_weight(eig if blend_eig is None else blend_eig, config.kappa))
