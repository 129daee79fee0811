"""The `self_fit` network as a fixer."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key, PyTree

from ff_jax.eig import eig_weight
from ff_jax.fixers.blending import blend
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.model_size import pad, round_up
from ff_jax.fixers.self_fit.config import SelfFitConfig
from ff_jax.fixers.self_fit.network import LAST_LAYER, Network


def init_params(key: Key[Array, ""], config: SelfFitConfig) -> PyTree:
    """Draw parameters {"network", "gain"} of a fixer that is the identity: the network's last layer is zero."""
    image = jax.ShapeDtypeStruct((1, config.stride, config.stride, 3), jnp.float32)
    shapes = jax.eval_shape(Network(config).init, key, image, jax.ShapeDtypeStruct(image.shape[:3], jnp.float32), image)
    # Drawn on the host: compiling one draw per layer takes longer than the rest of the fit.
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))

    def draw_leaf(path: tuple, leaf: jax.ShapeDtypeStruct) -> Array:
        names = [entry.key for entry in path]
        if names[-1] == "bias" or LAST_LAYER in names:
            return jnp.zeros(leaf.shape)
        deviation = 1.0 / np.sqrt(np.prod(leaf.shape[:-1]))  # of LeCun et al. 1998: 1 / fan-in
        return jnp.asarray(deviation * rng.standard_normal(leaf.shape, np.float32))

    return {"network": jax.tree_util.tree_map_with_path(draw_leaf, shapes), "gain": jnp.ones(())}


def fixer_from_params(params: PyTree, config: SelfFitConfig) -> Fixer:
    """Build the fixer of these parameters."""
    return Fixer(params, "self_fit", apply, config, use_aligned_references=True, chunk=config.chunk)


def apply(
    config: SelfFitConfig,
    params: PyTree,
    key: Key[Array, ""] | None,
    frames: Float[Array, "T H W 3"],
    eig: Float[Array, "T H W"],
    references: Float[Array, "T H W 3"],
) -> Float[Array, "T H W 3"]:
    """Repair frames of any size: render + weight(EIG) gain residual; the key is not used."""
    height, width = frames.shape[1:3]
    size = round_up((height, width), config.stride)
    eig = jnp.maximum(eig, 0.0)  # rounding may give small negative values
    inputs = (pad(array, size) for array in (frames, eig, references))
    residual = jnp.asarray(Network(config).apply(params["network"], *inputs))[:, :height, :width]
    fixed = jnp.clip(frames + params["gain"] * residual, 0.0, 1.0)
    return blend(fixed, frames, eig_weight(eig, config.kappa))
