"""Fixers by name."""

import dataclasses
import subprocess
import sys

import jax
import numpy as np
import pytest

from ff_jax.eig.config import EigConfig
from ff_jax.fixers import registry
from ff_jax.fixers.fixer import Fixer, fix
from ff_jax.fixers.reference_unet.config import ReferenceUnetConfig
from ff_jax.fixers.self_fit import SelfFitConfig
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.fixers import check_fixers, pretrained_fixer
from tests.random_inputs import seeded_rng

TINY = SelfFitConfig(network=ReferenceUnetConfig(widths=(4, 4), num_references=2))


@pytest.mark.parametrize("name", sorted({*registry.fixer_names()} - {"difix", "eigent", "reference_unet"}))
def test_every_untrained_fixer_starts_as_the_identity(name):
    fixer = registry.make_fixer(name, config=TINY if name == "self_fit" else None)
    assert isinstance(fixer, Fixer) and fixer.name == name
    rng = np.random.default_rng(0)
    frames, references = rng.random((2, 2, 8, 8, 3), np.float32)
    if fixer.use_separate_references:
        references = rng.random((2, 2, 8, 8, 4), np.float32)
    eig = rng.random((2, 8, 8), np.float32)
    np.testing.assert_array_equal(fix(fixer, jax.random.key(0), frames, eig, references), frames)


def test_an_unknown_name_is_refused():
    with pytest.raises(
        ValueError, match=r"invalid fixer='magic': expected one of difix, .*, none, reference_unet, self"
    ):
        registry.make_fixer("magic")


@pytest.mark.slow
def test_difix_ships_trained_and_keeps_what_is_known():
    fixer = registry.make_fixer("difix")
    assert fixer.name == "difix" and fixer.use_aligned_references and float(fixer.params["gain"]) == 1.0
    rng = seeded_rng()
    frames, references = rng.random((2, 1, 17, 30, 3), np.float32)
    eig = np.zeros((1, 17, 30), np.float32)
    eig[:, :, 15:] = 2.0
    fixed = np.asarray(fix(fixer.replace(chunk=1), jax.random.key(0), frames, eig, references))
    np.testing.assert_array_equal(fixed[:, :, :15], frames[:, :, :15])
    assert np.abs(fixed[:, :, 15:] - frames[:, :, 15:]).mean() > 1e-3 and fixed.min() >= 0 and fixed.max() <= 1


@pytest.mark.slow
def test_eigent_ships_trained_and_keeps_what_is_known():
    fixer = registry.make_fixer("eigent")
    assert fixer.name == "eigent" and fixer.use_aligned_references
    assert (fixer.chunk, fixer.overlap, fixer.num_context_frames) == (9, 1, 8)
    rng = seeded_rng()
    frames, references = rng.random((2, 9, 17, 30, 3), np.float32)
    eig = np.zeros((9, 17, 30), np.float32)
    eig[:, :, 15:] = 2.0
    fixed = np.asarray(fix(fixer, jax.random.key(0), frames, eig, references))
    np.testing.assert_array_equal(fixed[:, :, :15], frames[:, :, :15])
    assert np.abs(fixed[:, :, 15:] - frames[:, :, 15:]).mean() > 1e-3 and fixed.min() >= 0 and fixed.max() <= 1
    # Without references the render stands in for them, in what the networks see and in what is taken over.
    unaided = fixer.replace(config=dataclasses.replace(fixer.config, use_references=False))
    alone = fix(unaided, jax.random.key(0), frames, eig, references)
    np.testing.assert_allclose(alone, fix(fixer, jax.random.key(0), frames, eig, frames), atol=1e-4)
    assert np.abs(alone - fixed).max() > 1e-2


@pytest.mark.slow
def test_the_reference_unet_ships_trained_takes_over_references_and_is_what_a_fit_starts_from():
    fixer = registry.make_fixer("reference_unet")
    assert fixer.name == "reference_unet" and fixer.use_separate_references and float(fixer.params["gain"]) == 1.0
    y, x = np.mgrid[:48, :64]
    truth = (0.5 + 0.3 * np.sin(x[..., None] / np.array([2.0, 3.0, 4.0])) * np.cos(y / 3.0)[..., None])[None]
    frame = np.broadcast_to(truth.mean((1, 2), keepdims=True), truth.shape).astype(np.float32)
    references = np.concatenate([truth, np.ones_like(truth[..., :1])], -1)[:, None].repeat(5, 1).astype(np.float32)
    eig = np.zeros((1, 48, 64), np.float32)
    eig[:, :, 32:] = 2.0
    fixed = np.asarray(fix(fixer, jax.random.key(0), frame, eig, references))
    np.testing.assert_array_equal(fixed[:, :, :32], frame[:, :, :32])
    assert np.abs(fixed - truth)[:, :, 32:].mean() < 0.5 * np.abs(frame - truth)[:, :, 32:].mean()
    start = registry.make_fixer("self_fit")
    assert start.name == "self_fit"
    jax.tree.map(np.testing.assert_array_equal, start.params, fixer.params)


def test_both_names_of_a_run_are_checked():
    check_fixers(FuseConfig(fixer="eigent", late_fixer="difix"))
    check_fixers(FuseConfig(fixer="self_fit"))
    with pytest.raises(ValueError, match=r"invalid fixer='a': expected one of"):
        check_fixers(FuseConfig(fixer="a"))
    with pytest.raises(ValueError, match=r"invalid late_fixer='b': expected one of"):
        check_fixers(FuseConfig(fixer="none", late_fixer="b"))


@pytest.mark.slow
def test_a_run_without_eig_gets_fixers_that_ignore_it():
    config = FuseConfig(eig=EigConfig(use_eig=False))
    fixers = [pretrained_fixer(name, config) for name in ("difix", "eigent", "reference_unet")]
    assert all(not fixer.config.conditioned_on_eig and fixer.config.kappa < 1e-6 for fixer in fixers)
    assert pretrained_fixer("difix", FuseConfig()).config.conditioned_on_eig
    assert pretrained_fixer("none", config).config is None
    settings = registry.self_fit_without_eig(SelfFitConfig())
    assert not settings.network.conditioned_on_eig and settings.network.kappa < 1e-6


@pytest.mark.slow
def test_the_package_offers_the_protocol_without_importing_networks():
    names = "f.Fixer, f.fix, f.make_fixer, f.fixer_names(), 'diffusers' in sys.modules"
    program = f"import sys, ff_jax.fixers as f; print({names})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "self_fit" in done.stdout and done.stdout.strip().endswith("False")
