"""Training from scratch: inputs of the losses, frozen parameters, and bitwise resuming."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.difix import losses, model, objectives, trainer
from ff_jax.fixers.training.state import split, zero_init_output
from ff_jax.fixers.triples import Triples
from tests.ff_jax.fixers.difix import torch_difix
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

CONFIG = dataclasses.replace(torch_difix.CONFIG, use_aligned_references=True)
SETTINGS = trainer.DifixTrainConfig(vae_steps=2, steps=4, batch=2, crop=(8, 8), lr=1e-3, save_every=2)


def random_triples(count=3, height=8, width=12):
    rng = seeded_rng()
    image = lambda: rng.integers(0, 256, (count, height, width, 3), np.uint8)
    return Triples(image(), rng.exponential(1.0, (count, height, width)).astype(np.float16), image(), image())


def batch():
    rng = seeded_rng()
    image = lambda: jnp.asarray(rng.random((2, 8, 8, 3)), jnp.float32)
    return Triples(image(), jnp.asarray(rng.exponential(1.0, (2, 8, 8)), jnp.float32), image(), image())


@pytest.fixture
def eig_inputs(monkeypatch):
    """Replace the network by one that returns the reference; return the EIG that it gets."""
    inputs = []
    repair = lambda params, frames, eig, references, config: inputs.append(np.asarray(eig)) or references
    monkeypatch.setattr(objectives.model, "repair", repair)
    return inputs


@pytest.mark.parametrize("drop", [0.0, 1.0])
def test_dropped_eig_still_counts_in_the_loss(eig_inputs, drop):
    given, keys = batch(), jax.random.split(jax.random.key(0), 2)
    value, metrics = objectives.fixer_loss(CONFIG, drop)({"a": {}}, {"params": {}, "vgg": None}, given, keys)
    np.testing.assert_array_equal(eig_inputs[0], (1 - drop) * np.asarray(given.eigs))
    np.testing.assert_allclose(value, losses.compare(given.references, given, keys[0], CONFIG), rtol=1e-6)
    weight = 1 - np.exp(-np.asarray(given.eigs) / CONFIG.kappa)[..., None]
    final = given.renders + weight * (given.references - given.renders)
    score = lambda images: -10 * np.log10(((np.asarray(images) - given.targets) ** 2).mean((1, 2, 3)))
    np.testing.assert_allclose(metrics["improvement_db"], (score(final) - score(given.renders)).mean(), atol=1e-3)


def test_the_autoencoder_uses_the_latents_alone():
    params, given, keys = model.init(jax.random.key(0), CONFIG), batch(), jax.random.split(jax.random.key(0), 2)
    loss = objectives.autoencoder_loss(CONFIG)
    value, change = torch_difix.jit(jax.value_and_grad(lambda p: loss(p, {}, given, keys)[0]))({"vae": params["vae"]})
    # The last layer is still zero: the error is that of gray.
    np.testing.assert_allclose(value, jnp.mean((2 * given.targets - 1) ** 2), rtol=2e-2)
    assert np.abs(change["vae"]["decoder"]["conv_out"]["bias"][:3]).min() > 1e-4
    gray = zero_init_output(jax.tree.map(jnp.ones_like, params)["vae"]["decoder"])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gray["conv_out"]))
    assert all(np.all(leaf == 1) for leaf in jax.tree.leaves(gray["conv_in"]))


@pytest.fixture
def small(monkeypatch):
    """Replace the network by a few numbers of the same names."""
    rng = seeded_rng()
    number = lambda: jnp.asarray(rng.normal(0, 0.1), jnp.float32)
    start = {
        "vae": {"decoder": {"conv_out": {"bias": number()}}, "encoder": number()},
        "unet": number(),
        "guidance": {"conv_in": {"kernel": 0 * number()}, "stem": {"eig": 0 * number()}, "strength": {"a": number()}},
    }

    def repair(params, frames, eig, references, config):
        guidance = sum(jax.tree.leaves(params["guidance"]))
        vae = params["vae"]["decoder"]["conv_out"]["bias"] + params["vae"]["encoder"]
        return frames + (params["unet"] + vae) * (references - frames) + guidance * eig[..., None]

    def autoencoder(config):
        error = lambda params, batch: params["vae"]["encoder"] + params["vae"]["decoder"]["conv_out"]["bias"] - batch
        return lambda params, frozen, batch, keys: (jnp.mean(error(params, batch.targets) ** 2), {})

    monkeypatch.setattr(trainer.model, "init", lambda key, config: start)
    monkeypatch.setattr(trainer.model, "repair", repair)
    monkeypatch.setattr(trainer.objectives, "autoencoder_loss", autoencoder)
    return start


def test_training_learns_resumes_bit_for_bit_and_keeps_dropped_eig_inputs_zero(tmp_path, small):
    # A config of its own: the compiled small network must not be used by other tests.
    config, data, validation, lines = dataclasses.replace(CONFIG, chunk=3), random_triples(), random_triples(2), []
    settings = dataclasses.replace(SETTINGS, drop_eig=("channels",))
    changed = lambda **changes: dataclasses.replace(settings, **changes)
    fit = lambda place, how: trainer.train(
        tmp_path / place, data, validation, config, how, log=lambda *x: lines.append(x)
    )
    whole = fit("whole", settings)
    for part in ("guidance/strength", "unet", "vae"):
        before, after = (jax.tree.leaves(split(tree, (part,))[0]) for tree in (small, whole))
        assert any(np.any(a != b) for a, b in zip(before, after, strict=True)), part
    for part in objectives.EIG_INPUTS["channels"]:
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(split(whole, (part,))[0])), part
    last = {phase: step for phase, step, _ in lines}
    checks = [(step, metrics) for phase, step, metrics in lines if "val_psnr_fixed" in metrics]
    assert last == {"autoencoder": 2, "fixer": 4} and [step for step, _ in checks] == [2, 4]
    assert all(np.isfinite(list(metrics.values())).all() for _, metrics in checks)
    # An expired limit stops each phase after its first checkpoint; the same call resumes it.
    short = fit("parts", changed(minutes=1e-9))
    assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(short), jax.tree.leaves(whole), strict=True))
    jax.tree.map(np.testing.assert_array_equal, fit("parts", settings), whole)


def test_a_limit_within_the_autoencoder_ends_the_training(tmp_path, small):
    settings = dataclasses.replace(SETTINGS, vae_steps=3, minutes=1e-9)
    found = trainer.train(tmp_path, random_triples(), random_triples(2), dataclasses.replace(CONFIG, chunk=3), settings)
    assert not (tmp_path / "fixer").exists() and float(found["vae"]["decoder"]["conv_out"]["bias"]) == 0.0
    np.testing.assert_array_equal(found["unet"], small["unet"])


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="invalid drop_eig='color': expected channels or modulation"):
        trainer.DifixTrainConfig(drop_eig=("color",))
