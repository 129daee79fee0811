"""A small network that is fitted on the log itself: it needs no pretrained weights."""

from ff_jax.fixers.self_fit.config import SelfFitConfig
from ff_jax.fixers.self_fit.fit import fit, split_triples
from ff_jax.fixers.self_fit.fixer import fixer_from_params, init_params
from ff_jax.fixers.triples import Triples

__all__ = ["SelfFitConfig", "Triples", "fit", "fixer_from_params", "init_params", "split_triples"]
