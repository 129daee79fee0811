"""The `reference_unet` network as a fixer."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key, Num, PyTree

from ff_jax.eig import eig_weight
from ff_jax.fixers.blending import blend
from ff_jax.fixers.conditions import Conditions, stack_conditions
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.model_size import pad, round_up
from ff_jax.fixers.reference_unet.config import ReferenceUnetConfig
from ff_jax.fixers.reference_unet.model import CONDITIONS, LAST_LAYER, Network, shapes
from ff_jax.fixers.triples import from_bytes

NAME = "reference_unet"


def init_params(key: Key[Array, ""], config: ReferenceUnetConfig) -> PyTree:
    """Draw parameters {"network", "gain"} of a fixer that is the identity: the network's last layer is zero."""
    # Drawn on the host: compiling one draw per layer takes longer than a fit.
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))

    def draw_leaf(path: tuple, leaf: jax.ShapeDtypeStruct) -> Array:
        names = [entry.key for entry in path]
        if names[-1] == "bias" or LAST_LAYER in names or CONDITIONS in names:
            return jnp.zeros(leaf.shape)
        deviation = 1.0 / np.sqrt(np.prod(leaf.shape[:-1]))  # of LeCun et al. 1998: 1 / fan-in
        return jnp.asarray(deviation * rng.standard_normal(leaf.shape, np.float32))

    return with_gain(jax.tree_util.tree_map_with_path(draw_leaf, shapes(config)), 1.0)


def with_gain(network: PyTree, gain: float | Float[Array, ""]) -> PyTree:
    """Make the parameters of a fixer: a network, and the factor of the residual that it predicts."""
    return {"network": network, "gain": jnp.asarray(gain, jnp.float32)}


def fixer_from_params(params: PyTree, config: ReferenceUnetConfig, name: str = NAME) -> Fixer:
    """Build the fixer of these parameters."""
    return Fixer(
        params,
        name,
        apply,
        config,
        use_separate_references=config.use_references,
        chunk=config.chunk,
        conditions=config.conditions,
        source=config.source,
    )


def apply(
    config: ReferenceUnetConfig,
    params: PyTree,
    key: Key[Array, ""] | None,
    frames: Float[Array, "T H W 3"],
    eig: Float[Array, "T H W"],
    references: Num[Array, "T K H W 4"] | Num[Array, "T H W 3"],
    conditions: Conditions | None = None,
    blend_eig: Float[Array, "T H W"] | None = None,
) -> Float[Array, "T H W 3"]:
    """Repair frames of any size: render + weight(EIG) gain residual; the key is not used."""
    height, width = frames.shape[1:3]
    size = round_up((height, width), config.stride)
    eig = jnp.maximum(eig, 0.0)  # rounding may give small negative values
    if config.use_references:
        references = jnp.moveaxis(from_bytes(references), 1, 3)
    else:
        references = _no_references(frames, config.num_references)
    images = [frames, eig, references]
    images += [stack_conditions(config.conditions, conditions or {})] if config.conditions else []
    inputs = (pad(array, size) for array in images)
    residual = jnp.asarray(Network(config).apply(params["network"], *inputs))[:, :height, :width]
    fixed = jnp.clip(frames + params["gain"] * residual, 0.0, 1.0)
    return blend(fixed, frames, eig_weight(eig if blend_eig is None else blend_eig, config.kappa))


def _no_references(frames: Float[Array, "T H W 3"], count: int) -> Float[Array, "T H W K 4"]:
    """Make references of confidence 0, with the colors of the render as `reprojection.align_each` does."""
    return jnp.repeat(jnp.pad(frames, [(0, 0)] * 3 + [(0, 1)])[..., None, :], count, -2)
