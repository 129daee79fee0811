"""A small network fitted on the log itself: needs no pretrained weights."""

from ff_jax.fixers.self_fit.config import SelfFitConfig
from ff_jax.fixers.self_fit.fit import Triples, fit
from ff_jax.fixers.self_fit.fixer import init_params, make_fixer

__all__ = ["SelfFitConfig", "Triples", "fit", "init_params", "make_fixer"]
