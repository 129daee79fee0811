"""Fixers by name, as a config names them."""

import dataclasses
from typing import Any

import jax
from jax import Array
from jaxtyping import Key

from ff_jax.fixers import identity
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.pretrained import load_fixer
from ff_jax.fixers.reference_unet.fixer import fixer_from_params
from ff_jax.fixers.self_fit import SelfFitConfig, start_params

_EVERYWHERE = 1e-9  # nats: with so small a kappa every pixel of EIG above 0 is repaired in full


def make_fixer(name: str, *, config: Any = None, key: Key[Array, ""] | None = None) -> Fixer:
    """Build the fixer called `name`; all come with trained parameters, and `self_fit` is to be adapted.

    Args:
      name: one of `fixer_names()`.
      config: its settings; None takes its defaults.
      key: random key of untrained parameters, those of a `self_fit` of another layout than the trained network; None
        takes a fixed key.

    Raises:
      ValueError: the name is unknown.
    """
    check_name(name)
    return _BUILDERS[name](config, jax.random.key(0) if key is None else key)


def fixer_names() -> tuple[str, ...]:
    """List the names that `make_fixer` accepts."""
    return tuple(sorted(_BUILDERS))


def check_name(name: str, setting: str = "fixer") -> None:
    """Raise `ValueError` unless there is a fixer called `name`; `setting` is what the message calls it."""
    if name not in _BUILDERS:
        raise ValueError(f"invalid {setting}={name!r}: expected one of {', '.join(fixer_names())}.")


def without_eig(fixer: Fixer) -> Fixer:
    """Make a trained fixer ignore EIG: its networks see zeros, and its repair replaces every pixel of the render."""
    config = dataclasses.replace(fixer.config, conditioned_on_eig=False, kappa=_EVERYWHERE)
    return dataclasses.replace(fixer, config=config)


def without_guidance(fixer: Fixer) -> Fixer:
    """Make the network of a trained fixer see zeros in place of EIG; its repair is blended as before."""
    return dataclasses.replace(fixer, config=dataclasses.replace(fixer.config, conditioned_on_eig=False))


def self_fit_without_guidance(config: SelfFitConfig) -> SelfFitConfig:
    """Change the settings of a `self_fit` so that its network does not see EIG; its repair is blended as before."""
    return dataclasses.replace(config, network=dataclasses.replace(config.network, conditioned_on_eig=False))


def self_fit_without_eig(config: SelfFitConfig) -> SelfFitConfig:
    """Change the settings of a `self_fit` so that it is fitted without EIG and replaces every pixel of the render."""
    network = dataclasses.replace(config.network, conditioned_on_eig=False, kappa=_EVERYWHERE)
    return dataclasses.replace(config, network=network)


def _none(config: None, key: Key[Array, ""]) -> Fixer:
    return identity.make_identity()


def _self_fit(config: SelfFitConfig | None, key: Key[Array, ""]) -> Fixer:
    network = (config or SelfFitConfig()).network
    return fixer_from_params(start_params(key, network), network, "self_fit")


_BUILDERS = {
    "difix": lambda config, key: load_fixer("difix", config=config),
    "eigent": lambda config, key: load_fixer("eigent", config=config),
    "none": _none,
    "reference_unet": lambda config, key: load_fixer("reference_unet", config=config),
    "self_fit": _self_fit,
}
