"""The `self_fit` network as a fixer."""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key, PyTree

from ff_jax.eig import eig_weight
from ff_jax.generators.blend import blend
from ff_jax.generators.protocol import Fixer
from ff_jax.generators.self_fit.config import SelfFitConfig
from ff_jax.generators.self_fit.network import Network


@functools.partial(jax.jit, static_argnames=("config",))
def init_params(key: Key[Array, ""], config: SelfFitConfig) -> PyTree:
    """Return {"network", "gain"} of a fixer that is the identity."""
    size = config.stride
    network = Network(config).init(
        key, jnp.zeros((1, size, size, 3)), jnp.zeros((1, size, size)), jnp.zeros((1, size, size, 3))
    )
    return {"network": network, "gain": jnp.ones(())}


def make_fixer(params: PyTree, config: SelfFitConfig) -> Fixer:
    """Return the fixer of these parameters."""
    return Fixer(params=params, name="self_fit", apply=apply, config=config, chunk=config.chunk)


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
