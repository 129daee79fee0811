"""Fixers by name, as a config gives them."""

import dataclasses
from typing import Any

import jax
from jax import Array
from jaxtyping import Key

from ff_jax.fixers import identity
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.self_fit import SelfFitConfig, Triples, fit, init_params, make_fixer

_EVERYWHERE = 1e-9  # nats: with so small a kappa every pixel of EIG above 0 is repaired in full


def build(name: str, *, config: Any = None, key: Key[Array, ""] | None = None) -> Fixer:
    """Return the fixer called `name`, with the parameters it starts from: all but `self_fit` are trained.

    Args:
      name: one of `names()`.
      config: its settings; None takes its defaults.
      key: randomness of its first parameters; None takes a fixed key.

    Raises:
      ValueError: the name is unknown.
    """
    if name not in _BUILDERS:
        raise ValueError(f"there is no fixer called {name!r}; known: {', '.join(names())}.")
    return _BUILDERS[name](config, jax.random.key(0) if key is None else key)


def unguided(fixer: Fixer) -> Fixer:
    """Return a trained fixer whose networks are not told EIG, and whose repair replaces every pixel of the render."""
    return fixer.replace(config=dataclasses.replace(fixer.config, told=False, kappa=_EVERYWHERE))


def unguided_fit(config: SelfFitConfig) -> SelfFitConfig:
    """Return the settings of a `self_fit` that is fitted without EIG, and replaces every pixel of the render."""
    return dataclasses.replace(config, kappas=(), kappa=_EVERYWHERE)


def stages(name: str) -> tuple[str, str]:
    """Return which fixers work while the path moves outwards and after it: "eigent_then_difix" names two."""
    first, mark, second = name.partition("_then_")
    return first, second if mark else first


def names() -> tuple[str, ...]:
    """Return the names that `build` knows."""
    return tuple(sorted(_BUILDERS))


def fit_self(
    key: Key[Array, ""], triples: Triples, config: SelfFitConfig, progress: Any = None
) -> tuple[Fixer, dict[str, Any]]:
    """Fit the `self_fit` fixer on triples of a log: see `self_fit.fit`."""
    return fit(key, triples, config, progress)


def _none(config: None, key: Key[Array, ""]) -> Fixer:
    return identity.build()


def _difix(config: Any, key: Key[Array, ""]) -> Fixer:
    # Imported when it is asked for: diffusers takes seconds to import, and nothing else needs it.
    from ff_jax.fixers.difix import pretrained

    return pretrained.build(config=config)


def _eigent(config: Any, key: Key[Array, ""]) -> Fixer:
    from ff_jax.fixers.eigent import pretrained  # as above

    return pretrained.build(config=config)


def _self_fit(config: SelfFitConfig | None, key: Key[Array, ""]) -> Fixer:
    config = config or SelfFitConfig()
    return make_fixer(init_params(key, config), config)


_BUILDERS = {"difix": _difix, "eigent": _eigent, "none": _none, "self_fit": _self_fit}
