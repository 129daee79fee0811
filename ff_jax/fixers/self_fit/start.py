"""The network that a fit starts from."""

import dataclasses

from jax import Array
from jaxtyping import Key, PyTree

from ff_jax.fixers.pretrained import load_fixer, shipped_weights
from ff_jax.fixers.reference_unet.config import ReferenceUnetConfig, tiny
from ff_jax.fixers.reference_unet.fixer import NAME, init_params

# Settings that the shapes and the meaning of weights depend on.
_LAYOUT = ("kappas", "num_references", "stem", "widths")


def start_params(key: Key[Array, ""], config: ReferenceUnetConfig) -> PyTree:
    """Return the trained network of the package if there is one of this layout, else a new one that is the identity.

    The trained network has no conditions; those of the config are added without a change of its output. What is
    repaired (`config.source`) changes no shape of the weights.
    """
    start = init_params(key, config)
    is_same = all(getattr(config, name) == getattr(tiny(), name) for name in _LAYOUT)
    if not is_same or not shipped_weights(NAME).exists():
        return start
    trained = load_fixer(NAME, config=dataclasses.replace(config, conditions=(), source="render")).params
    layers = start["network"]["params"] | trained["network"]["params"]
    return trained | {"network": {"params": layers}}
