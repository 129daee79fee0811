"""The Difix network as a fixer of frames of any size."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key, PyTree

from ff_jax.eig import eig_weight
from ff_jax.fixers.blending import blend
from ff_jax.fixers.difix import model
from ff_jax.fixers.difix.config import DifixConfig
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.model_size import pad, resize, round_up, working_size
from ff_jax.fixers.tiling import scan_tiles


def init_params(key: Key[Array, ""], config: DifixConfig) -> PyTree:
    """Draw {"network", "gain"} of a fixer that is the identity: the network is untrained, so its gain is 0."""
    return {"network": model.init(key, config), "gain": jnp.zeros(())}


def fixer_from_params(params: PyTree, config: DifixConfig) -> Fixer:
    """Build the fixer of these parameters.

    Args:
        params: {"network": from `model.init` or `convert.difix`, "gain": scalar in [0, 1], 1 for a trained network}.
        config: the layout and its use.
    """
    aligned = config.use_aligned_references
    return Fixer(params, "difix", apply, config, use_aligned_references=aligned, chunk=config.chunk)


def apply(
    config: DifixConfig,
    params: PyTree,
    key: Key[Array, ""] | None,
    frames: Float[Array, "T H W 3"],
    eig: Float[Array, "T H W"],
    references: Float[Array, "T H W 3"],
    blend_eig: Float[Array, "T H W"] | None = None,
) -> Float[Array, "T H W 3"]:
    """Repair frames of any size: render + weight(EIG) gain (network - render); the key is not used.

    Frames larger than `config.size` are scaled into it with their aspect, and the repair is scaled back. Images larger
    than `config.tile` are processed in tiles.
    """
    eig = jnp.maximum(eig, 0.0)  # rounding may give small negative values
    height, width = frames.shape[1:3]
    scaled = working_size((height, width), config.size)
    canvas = round_up(scaled, config.stride)
    eig_input = eig if config.conditioned_on_eig else jnp.zeros_like(eig)
    inputs = tuple(pad(resize(array, scaled), canvas) for array in (frames, eig_input, references))

    def network(tile: tuple[Array, Array, Array]) -> Float[Array, "T h w 3"]:
        return model.repair(params["network"], tile[0], tile[1], tile[2], config)

    fixed = scan_tiles(network, inputs, config.tile, config.overlap)[:, : scaled[0], : scaled[1]]
    fixed = jnp.clip(resize(fixed, (height, width)), 0.0, 1.0)
    weight = eig_weight(eig if blend_eig is None else blend_eig, config.kappa)
    return blend(frames + params["gain"] * (fixed - frames), frames, weight)
