"""The `reference_unet` network, adapted to a log by its own pairs."""

from ff_jax.fixers.self_fit.config import SelfFitConfig
from ff_jax.fixers.self_fit.fit import fit, split_triples
from ff_jax.fixers.self_fit.start import start_params

__all__ = ["SelfFitConfig", "fit", "split_triples", "start_params"]
