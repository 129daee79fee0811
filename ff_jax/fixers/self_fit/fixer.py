"""The `self_fit` network as a fixer."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key, PyTree

from ff_jax.eig import eig_weight
from ff_jax.fixers.blending import blend
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.self_fit.config import SelfFitConfig
from ff_jax.fixers.self_fit.network import LAST_LAYER, Network


def init_params(key: Key[Array, ""], config: SelfFitConfig) -> PyTree:
    """Return {"network", "gain"} of a fixer that is the identity: the network's last layer is zero."""
    image = jax.ShapeDtypeStruct((1, config.stride, config.stride, 3), jnp.float32)
    shapes = jax.eval_shape(Network(config).init, key, image, jax.ShapeDtypeStruct(image.shape[:3], jnp.float32), image)
    # Drawn on the host: compiling one draw per layer takes longer than the rest of the fit.
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> Array:
        names = [entry.key for entry in path]
        if names[-1] == "bias" or LAST_LAYER in names:
            return jnp.zeros(leaf.shape)
        deviation = 1.0 / np.sqrt(np.prod(leaf.shape[:-1]))  # of LeCun et al. 1998: 1 / fan-in
        return jnp.asarray(deviation * rng.standard_normal(leaf.shape, np.float32))

    return {"network": jax.tree_util.tree_map_with_path(draw, shapes), "gain": jnp.ones(())}


def make_fixer(params: PyTree, config: SelfFitConfig) -> Fixer:
    """Return the fixer of these parameters."""
    return Fixer(params=params, name="self_fit", apply=apply, config=config, aligned=True, chunk=config.chunk)


def apply(
    config: SelfFitConfig,
    params: PyTree,
    key: Key[Array, ""] | None,
    frames: Float[Array, "T H W 3"],
    eig: Float[Array, "T H W"],
    references: Float[Array, "T H W 3"],
) -> Float[Array, "T H W 3"]:
    """Repair frames of any size: render + weight(EIG) gain residual; the same for every key."""
    height, width = frames.shape[1:3]
    eig = jnp.maximum(eig, 0.0)  # rounding may leave a little below
    pad = [(0, 0), (0, -height % config.stride), (0, -width % config.stride)]
    render = jnp.pad(frames, [*pad, (0, 0)], "edge")
    residual = Network(config).apply(
        params["network"],
        render,
        jnp.pad(eig, pad, "edge"),
        jnp.pad(references, [*pad, (0, 0)], "edge"),
    )[:, :height, :width]
    fixed = jnp.clip(frames + params["gain"] * residual, 0.0, 1.0)
    return blend(fixed, frames, eig_weight(eig, config.kappa))
