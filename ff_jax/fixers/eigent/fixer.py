"""The video networks as a fixer of clips of any length and size."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key, PyTree

from ff_jax.eig import eig_weight
from ff_jax.fixers.blending import blend
from ff_jax.fixers.eigent import detail_decoder, model
from ff_jax.fixers.eigent.config import EigentConfig
from ff_jax.fixers.eigent.detail_decoder import Change
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.model_size import multiple, pad, resize, working_size


def make_fixer(params: PyTree, config: EigentConfig) -> Fixer:
    """Return the fixer of these parameters (see `model.init`).

    It takes `config.frames` at once, the first of them from the piece before; a path is led to from the recorded pose.
    """
    order = {"chunk": config.frames, "overlap": 1, "lead": config.lead}
    return Fixer(params=params, name="eigent", apply=apply, config=config, aligned=config.aligned, **order)


def apply(
    config: EigentConfig,
    params: PyTree,
    key: Key[Array, ""],
    frames: Float[Array, "T H W 3"],
    eig: Float[Array, "T H W"],
    references: Float[Array, "T H W 3"],
) -> Float[Array, "T H W 3"]:
    """Repair `config.frames` frames of any size: render + blend weight(EIG) (repair - render).

    Frames larger than `config.size`, and smaller ones where that is exact, are scaled into it with their aspect. What
    is to be changed is scaled back, so that nothing else loses detail. The first frame is taken as it is by the
    networks.
    """
    eig = jnp.maximum(eig, 0.0)  # rounding may leave a little below
    references = references if config.referenced else frames
    size = frames.shape[1:3]
    small = working_size(size, config.size, enlarge=config.exact)
    canvas = config.size if config.exact else multiple(small, config.stride)
    inputs = [pad(resize(array, small), canvas)[None] for array in (frames, eig, references)]
    made = model.repair(params, key, *inputs, config)
    full = Change(*(resize(part[0, :, : small[0], : small[1]], size) for part in made))
    fixed = jnp.clip(detail_decoder.apply(full, frames, references), 0.0, 1.0)
    return blend(fixed, frames, config.blend * eig_weight(eig, config.kappa))
