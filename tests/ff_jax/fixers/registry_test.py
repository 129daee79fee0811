"""Fixers by name."""

import dataclasses

import jax
import numpy as np
import pytest

from ff_jax.fixers import registry
from ff_jax.fixers.fixer import Fixer, fix
from ff_jax.fixers.self_fit import SelfFitConfig
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.fix_event import EigConfig
from ff_jax.pipeline.fuse import trained_fixer

TINY = SelfFitConfig(widths=(4, 4), crop=(8, 8))


@pytest.mark.parametrize("name", sorted({*registry.names()} - {"difix", "eigent"}))
def test_every_untrained_fixer_starts_as_the_identity(name):
    fixer = registry.build(name, config=TINY if name == "self_fit" else None)
    assert isinstance(fixer, Fixer) and fixer.name == name
    rng = np.random.default_rng(0)
    frames, references = rng.random((2, 2, 8, 8, 3), np.float32)
    eig = rng.random((2, 8, 8), np.float32)
    np.testing.assert_array_equal(fix(fixer, jax.random.key(0), frames, eig, references), frames)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no fixer called 'magic'; known: difix, eigent, none, self_fit"):
        registry.build("magic")


def test_difix_ships_trained_and_keeps_what_is_known():
    fixer = registry.build("difix")
    assert fixer.name == "difix" and fixer.aligned and float(fixer.params["gain"]) == 1.0
    rng = np.random.default_rng()
    frames, references = rng.random((2, 1, 17, 30, 3), np.float32)
    eig = np.zeros((1, 17, 30), np.float32)
    eig[:, :, 15:] = 2.0
    fixed = np.asarray(fix(fixer.replace(chunk=1), jax.random.key(0), frames, eig, references))
    np.testing.assert_array_equal(fixed[:, :, :15], frames[:, :, :15])
    assert np.abs(fixed[:, :, 15:] - frames[:, :, 15:]).mean() > 1e-3 and fixed.min() >= 0 and fixed.max() <= 1


def test_eigent_ships_trained_and_keeps_what_is_known():
    fixer = registry.build("eigent")
    assert fixer.name == "eigent" and fixer.aligned and (fixer.chunk, fixer.overlap, fixer.lead) == (9, 1, 8)
    rng = np.random.default_rng()
    frames, references = rng.random((2, 9, 17, 30, 3), np.float32)
    eig = np.zeros((9, 17, 30), np.float32)
    eig[:, :, 15:] = 2.0
    fixed = np.asarray(fix(fixer, jax.random.key(0), frames, eig, references))
    np.testing.assert_array_equal(fixed[:, :, :15], frames[:, :, :15])
    assert np.abs(fixed[:, :, 15:] - frames[:, :, 15:]).mean() > 1e-3 and fixed.min() >= 0 and fixed.max() <= 1
    # Without references the render stands in for them, in what the networks see and in what is taken over.
    unaided = fixer.replace(config=dataclasses.replace(fixer.config, referenced=False))
    alone = fix(unaided, jax.random.key(0), frames, eig, references)
    np.testing.assert_allclose(alone, fix(fixer, jax.random.key(0), frames, eig, frames), atol=1e-4)
    assert np.abs(alone - fixed).max() > 1e-2


def test_two_names_are_two_stages():
    assert registry.stages("eigent_then_difix") == ("eigent", "difix")
    assert registry.stages("self_fit") == ("self_fit", "self_fit")


def test_a_run_without_guidance_gets_fixers_that_do_not_know_eig():
    config = FuseConfig(eig=EigConfig(guide=False))
    made = {name: trained_fixer(name, config) for name in ("difix", "eigent")}
    assert all(not fixer.config.told and fixer.config.kappa < 1e-6 for fixer in made.values())
    assert trained_fixer("difix", FuseConfig()).config.told
    assert trained_fixer("none", config).config is None
    blind = registry.unguided_fit(SelfFitConfig())
    assert blind.kappas == () and blind.kappa < 1e-6
