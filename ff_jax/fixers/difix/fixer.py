"""The Difix network as a fixer of frames of any size."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key, PyTree

from ff_jax.eig import eig_weight
from ff_jax.fixers.blending import blend
from ff_jax.fixers.difix import model
from ff_jax.fixers.difix.config import DifixConfig
from ff_jax.fixers.difix.tiles import tiled
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.model_size import multiple, pad, resize, working_size


def init_params(key: Key[Array, ""], config: DifixConfig) -> PyTree:
    """Return {"network", "gain"} of a fixer that is the identity: the network is untrained, its gain therefore 0."""
    return {"network": model.init(key, config), "gain": jnp.zeros(())}


def make_fixer(params: PyTree, config: DifixConfig) -> Fixer:
    """Return the fixer of these parameters; `config.aligned` says whether references are re-projected.

    Args:
        params: {"network": from `model.init` or `convert.difix`, "gain": scalar in [0, 1], 1 for a trained network}.
        config: the layout and its use.
    """
    return Fixer(params=params, name="difix", apply=apply, config=config, aligned=config.aligned, chunk=config.chunk)


def apply(
    config: DifixConfig,
    params: PyTree,
    key: Key[Array, ""] | None,
    frames: Float[Array, "T H W 3"],
    eig: Float[Array, "T H W"],
    references: Float[Array, "T H W 3"],
) -> Float[Array, "T H W 3"]:
    """Repair frames of any size: render + weight(EIG) gain (network - render); the same for every key.

    Frames larger than `config.size` are scaled into it with their aspect, and the repair is scaled back. What then
    exceeds `config.tile` is worked off in tiles.
    """
    eig = jnp.maximum(eig, 0.0)  # rounding may leave a little below
    height, width = frames.shape[1:3]
    small = working_size((height, width), config.size)
    canvas = multiple(small, config.stride)
    seen = eig if config.told else jnp.zeros_like(eig)
    inputs = [pad(resize(array, small), canvas) for array in (frames, seen, references)]
    network = lambda arrays: model.repair(params["network"], *arrays, config)
    fixed = tiled(network, inputs, config.tile, config.overlap)[:, : small[0], : small[1]]
    fixed = jnp.clip(resize(fixed, (height, width)), 0.0, 1.0)
    return blend(frames + params["gain"] * (fixed - frames), frames, eig_weight(eig, config.kappa))
