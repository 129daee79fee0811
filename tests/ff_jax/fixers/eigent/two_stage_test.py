"""The form of the paper: the branch attends to the frames of the one-step fixer, beside recorded images."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers import one_step, weights
from ff_jax.fixers.eigent import config as configs
from ff_jax.fixers.eigent import latent_cache, model
from ff_jax.fixers.eigent.denoising_loss import DenoisingLossConfig, make_loss
from ff_jax.fixers.eigent.fixer import fixer_from_params
from ff_jax.fixers.eigent.transformer import Dit
from ff_jax.fixers.fixer import Fixer, fix
from ff_jax.fixers.pretrained import load_fixer
from tests.ff_jax.fixers.eigent.small import CONFIG, clips, params
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

TWO_STAGE = dataclasses.replace(CONFIG, conditions=("repaired",))


def invert(config, net, key, frames, eig, references, conditions=None, blend_eig=None):
    return 1 - frames


@pytest.fixture(scope="module")
def network():
    return params(seeded_rng(), TWO_STAGE)


@pytest.fixture
def latents():
    """Return latents of render, reference and recorded images, and EIG."""
    rng = seeded_rng()
    drawn = jnp.asarray(rng.normal(size=(3, 1, 3, 4, 4, 3)), jnp.float32)
    return *drawn, jnp.asarray(rng.random((1, 3, 4, 4)), jnp.float32).at[:, 0].set(0.0)


def test_the_branch_uses_both_kinds_of_images_and_repaired_ones_by_their_eig(network, latents):
    render, reference, recorded, eig = latents
    run = jax.jit(
        lambda eig, *images: model.generate(
            network, jax.random.key(1), images[0], eig, images[1], TWO_STAGE, recorded=images[2]
        )
    )
    first = run(eig, render, reference, recorded)
    changed = lambda *inputs: np.abs(run(*inputs) - first)[:, 1:].max()
    assert changed(eig, render, reference[:, ::-1], recorded) > 1e-5
    assert changed(eig, render, reference, recorded[:, ::-1]) > 1e-5
    blind = run(jnp.zeros_like(eig), render, reference, recorded)  # as with EIG dropout
    np.testing.assert_array_equal(run(jnp.zeros_like(eig), render, reference[:, ::-1], recorded), blind)
    with pytest.raises(ValueError, match="has_recorded=True"):
        model.generate(network, jax.random.key(1), render, eig, reference, TWO_STAGE)


def test_recorded_images_start_without_effect():
    kernel = model.init(jax.random.key(0), TWO_STAGE)["branch"]["patch_embed"]["proj"]["kernel"]
    old = model.init(jax.random.key(0), CONFIG)["branch"]["patch_embed"]["proj"]["kernel"]
    count = old.shape[-2]
    assert kernel.shape[-2] == count + 3
    np.testing.assert_array_equal(kernel[..., :count, :], old)
    assert not kernel[..., count:, :].any()


def test_training_clips_hold_repaired_and_recorded_latents(network, monkeypatch):
    monkeypatch.setattr(one_step, "one_step_fixer", lambda: Fixer({}, "invert", invert))
    stored = one_step.clips_with_repaired(latent_cache.with_true_start(clips(seeded_rng(), 2)))
    np.testing.assert_array_equal(stored.conditions["repaired"][..., :3], 255 - np.asarray(stored.renders))
    stored = latent_cache.with_true_start(stored)
    np.testing.assert_array_equal(stored.conditions["repaired"][:, 0, ..., :3], stored.targets[:, 0])
    found = latent_cache.encode_all(network, jax.tree.map(jnp.asarray, stored), TWO_STAGE, 2)
    plain = latent_cache.encode_all(network, jax.tree.map(jnp.asarray, stored), CONFIG, 2)
    np.testing.assert_allclose(found.recorded, plain.reference, atol=1e-5)
    assert plain.recorded is None and np.abs(found.reference - found.recorded).max() > 0.01
    loss = make_loss(Dit(TWO_STAGE.dit), model.make_branch(TWO_STAGE), DenoisingLossConfig(dropout=0.0))
    gradient = jax.jit(
        jax.grad(lambda p: loss(p, network["backbone"], found, jax.random.split(jax.random.key(0), 4))[0])
    )
    of = gradient(network["branch"])
    assert np.abs(of["patch_embed"]["proj"]["kernel"][..., -3:, :]).max() > 0
    assert np.abs(of["reference_embed"]["proj"]["kernel"]).max() > 0


def test_the_fixer_takes_the_frames_of_the_one_step_fixer(network):
    rng = seeded_rng()
    frames, references, repaired = rng.random((3, 9, 16, 16, 3), np.float32)
    eig = rng.exponential(size=(9, 16, 16)).astype(np.float32)
    fixer = fixer_from_params(network, TWO_STAGE)
    given = lambda images: {"repaired": np.concatenate([images, np.ones_like(images[..., :1])], -1)}
    run = lambda images: np.asarray(fix(fixer, jax.random.key(0), frames, eig, references, given(images)))
    first = run(repaired)
    assert np.abs(run(repaired[::-1]) - first).max() > 1e-5
    other = repaired.copy()
    other[0] = 0.0  # the first frame is given: its repair is not used
    np.testing.assert_array_equal(run(other), first)
    with pytest.raises(ValueError, match="condition 'repaired' is missing"):
        fix(fixer, jax.random.key(0), frames, eig, references)


def test_weights_of_both_forms_are_recognized(tmp_path, monkeypatch):
    monkeypatch.setattr(configs, "layouts", lambda: (CONFIG, TWO_STAGE))
    for config in (CONFIG, TWO_STAGE):
        path = tmp_path / "tiny.safetensors"
        weights.save(path, model.init(jax.random.key(0), config))
        assert load_fixer("eigent", path).config == config
    assert load_fixer("eigent", path).conditions == ("repaired",)
