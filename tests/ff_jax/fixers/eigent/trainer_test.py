"""The training from scratch: clips, losses, and four resumable phases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.eigent import latent_cache, losses, model, trainer
from ff_jax.fixers.training.state import split
from ff_jax.fixers.triples import as_colors
from tests.ff_jax.fixers.eigent.small import CONFIG, clips, params
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

SETTINGS = trainer.EigentTrainConfig(steps=(2,) * 4, lr=(1e-3,) * 4, batch=(2,) * 4, crop=(8, 8), save_every=2)


@pytest.fixture(scope="module")
def network():
    return params(seeded_rng())


def test_the_first_frame_is_the_true_image():
    stored = clips(seeded_rng(), 2)
    found = latent_cache.with_true_start(stored)
    for images, before in ((found.renders, stored.renders), (found.references, stored.references)):
        np.testing.assert_array_equal(images[:, 0], stored.targets[:, 0])
        np.testing.assert_array_equal(images[:, 1:], before[:, 1:])
    assert not found.eigs[:, 0].any() and stored.eigs[:, 0].any()


def test_latents_are_those_of_the_clips_and_of_their_mirror_images(network):
    stored = jax.tree.map(jnp.asarray, clips(seeded_rng(), 3))
    found = latent_cache.encode_all(network, stored, CONFIG, 4)
    colors = as_colors(stored)
    encode = lambda video: np.asarray(model.encode(network, video, CONFIG))
    for images, latents in (
        (colors.targets, found.clean),
        (colors.renders, found.render),
        (colors.references, found.reference),
    ):
        expected = np.concatenate([encode(images), encode(images[:, :, :, ::-1])])
        np.testing.assert_allclose(latents, expected, atol=2e-4)
    np.testing.assert_allclose(found.eig[3:], found.eig[:3, :, :, ::-1], atol=1e-5)
    assert found.text.shape == (6, 1, 4) and not np.asarray(found.eig[:, 0]).any()
    both = latent_cache.pixels(stored, jnp.array([1, 4]))
    np.testing.assert_array_equal(both.renders[0], both.renders[1, :, :, ::-1])
    np.testing.assert_array_equal(both.eigs[0], both.eigs[1, :, :, ::-1])


def test_moments_make_latents_normal(network):
    stored = clips(seeded_rng(), 3)
    found = network | {"moments": latent_cache.estimate_moments(network, stored, CONFIG, 3)}
    flat = np.asarray(latent_cache.encode_all(found, stored, CONFIG, 3).clean).reshape(-1, 3)
    np.testing.assert_allclose(flat.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(flat.std(0), 1, atol=1e-3)


def test_the_decoders_loss_excludes_the_first_frame(network, monkeypatch):
    stored = as_colors(clips(seeded_rng(), 2))
    change = lambda p, latents, frames, eig, references, config: model.Change(
        0.5 * (references - frames), jnp.zeros((*frames.shape[:-1], 1))
    )
    monkeypatch.setattr(losses.model, "decode_change", change)
    trained, rest = split(network, ("details", "vae/decoder"))
    batch = latent_cache.Generated(stored, jnp.zeros((2, 3, 4, 4, 3)))
    keys = jax.random.split(jax.random.key(0), 2)
    value, metrics = losses.decoder_loss(CONFIG)(trained, {"params": rest, "lpips": None}, batch, keys)
    cut = jax.tree.map(lambda array: np.asarray(array)[:, 1:], stored)
    fixed = cut.renders + 0.5 * (cut.references - cut.renders)
    weight = 1 - np.exp(-cut.eigs / CONFIG.kappa)
    error = fixed - cut.targets
    np.testing.assert_allclose(value, 2 * (error**2).mean() + (weight * np.abs(error).mean(-1)).mean(), rtol=1e-4)
    final = cut.renders + weight[..., None] * (fixed - cut.renders)
    score = lambda video: -10 * np.log10(((video - cut.targets) ** 2).mean((2, 3, 4)))
    improvement = (score(final) - score(cut.renders)).mean()
    np.testing.assert_allclose(metrics["improvement_db"], improvement, atol=1e-3)


def test_training_changes_each_part_in_its_phase_and_resumes_bit_for_bit(tmp_path):
    rng, lines = seeded_rng(), []
    data, validation = clips(rng, 3), clips(rng, 1)
    train = lambda: trainer.train(tmp_path, data, validation, CONFIG, SETTINGS, log=lambda *x: lines.append(x))
    whole = train()
    start = model.init(jax.random.key(0), CONFIG)
    differ = lambda a, b: any(np.any(x != y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
    for part in ("vae", "moments", "backbone", "branch", "details"):
        assert differ(start[part], whole[part]), part
    assert [name for name, *_ in lines if name != "x"][::2] == list(trainer.PHASES)
    checks = {name: metrics for name, _, metrics in lines if any(key.startswith("val_") for key in metrics)}
    assert set(checks) == set(trainer.PHASES) and set(checks["decoder"]) == {"val_psnr_render", "val_psnr_fixed"}
    assert all(np.isfinite(list(metrics.values())).all() for metrics in checks.values())
    jax.tree.map(np.testing.assert_array_equal, train(), whole)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="must have one entry per phase"):
        trainer.EigentTrainConfig(steps=(1, 2, 3))
