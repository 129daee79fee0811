"""The names of the signals; `uncertainty_maps_test` computes all of them."""

import dataclasses

import pytest

from ff_jax import eig
from ff_jax.eig.config import SIGNALS
from ff_jax.eig.signals import SCENE_SIGNALS
from ff_jax.runtime.settings import SettingError


def test_names_are_checked_and_default_to_one_signal():
    config = eig.EigConfig(signal="trace", blend_signal="opacity")
    assert config.signals == ("trace", "opacity", "trace")
    assert eig.EigConfig().signals == ("exact",) * 3 and set(SCENE_SIGNALS) < set(SIGNALS)
    assert eig.EigConfig(use_eig=False).signals == ("none", "none", "exact")
    for name in ("signal", "guidance_signal", "blend_signal", "weight_signal"):
        with pytest.raises(SettingError, match=f"invalid {name}='eigg': expected one of exact, trace"):
            eig.EigConfig(**{name: "eigg"})
    with pytest.raises(SettingError, match="invalid signal=''"):
        dataclasses.replace(config, signal="")
