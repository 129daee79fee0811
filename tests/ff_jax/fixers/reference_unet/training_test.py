"""The loss, the random changes of the inputs, and the training of the reference U-Net on several logs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.reference_unet import trainer, training
from ff_jax.fixers.reference_unet.config import ReferenceUnetConfig, TrainSettings
from ff_jax.fixers.reference_unet.fixer import init_params
from ff_jax.fixers.triples import Triples, as_bytes
from ff_jax.runtime.stop import StoppedError, StopRequest
from tests.random_inputs import seeded_rng

KEY = jax.random.key(4)
TINY = ReferenceUnetConfig(widths=(8, 8), num_references=2)
SETTINGS = TrainSettings(steps=40, batch=4, crop=(16, 16), lr=5e-3, warmup=5, ema=0.9)


def pairs(seed, count=6, height=16, width=20):
    """Return triples in small types; the first reference is the truth where the render is discolored."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / width
    phase = rng.random((count, 1, 1))
    truth = np.stack([0.5 + 0.3 * np.sin(6 * x + k + 6 * phase + 3 * y) for k in range(3)], -1).astype(np.float32)
    bad = np.broadcast_to(np.where(x > 0.5, 1.0, 0.0), truth.shape[:3])
    render = np.where(bad[..., None] > 0, 0.5 * truth + 0.4 * rng.random((count, 1, 1, 3)), truth)
    sure, other = np.ones_like(truth[..., :1]), rng.random(truth.shape)
    references = np.stack([np.concatenate([image, sure], -1) for image in (truth, other)], 1)
    small = [np.asarray(as_bytes(image)) for image in (render, references, truth)]
    weights = np.full(bad.shape, 255, np.uint8)
    return Triples(small[0], (2 * bad).astype(np.float16), small[1], small[2], weights)


def test_learning_rate_rises_and_falls():
    rates = [training.learning_rate(SETTINGS, done) for done in (0.0, 0.0625, 0.125, 0.5, 1.0)]
    np.testing.assert_allclose(rates[:3], [0.0, 2.5e-3, 5e-3])
    assert rates[2] > rates[3] > rates[4] and abs(rates[4]) < 1e-9


def test_masked_pixels_count_as_right():
    rng = seeded_rng()
    truth, fixed = rng.random((2, 1, 16, 16, 3), np.float32)
    half = np.zeros((1, 16, 16), np.float32)
    half[:, :, 8:] = 1.0
    batch = Triples(truth, half, truth, truth, half)
    spoiled = np.where(half[..., None] > 0, fixed, rng.random(truth.shape, np.float32))
    batch = jax.tree.map(jnp.asarray, batch)

    def loss(image, weights):
        weights = None if weights is None else jnp.asarray(weights)
        return float(training.repair_loss(jnp.asarray(image), batch.replace(weights=weights), SETTINGS))

    assert loss(fixed, half) == loss(spoiled, half) and loss(fixed, None) != loss(spoiled, None)
    assert loss(truth, None) < 1e-2 < loss(fixed, half) < loss(fixed, None)


@pytest.mark.slow
def test_augmentation_changes_all_images_alike_and_hides_references_behind_the_render():
    rng = seeded_rng()
    color = rng.random((8, 4, 4, 3), np.float32)
    references = np.concatenate([color, np.ones((8, 4, 4, 1), np.float32)], -1)[:, None].repeat(20, 1)
    plane = np.ones((8, 4, 4), np.float32)
    found = training.augment(KEY, jax.tree.map(jnp.asarray, Triples(color, plane, references, color, plane)))
    np.testing.assert_array_equal(found.renders, found.targets)
    np.testing.assert_array_equal(found.references[..., :3], np.repeat(found.renders[:, None], 20, 1))
    assert 0.05 < 1 - found.references[..., 3].mean() < 0.3 and set(np.unique(found.references[..., 3])) == {0.0, 1.0}
    ratio = np.sort(found.renders[:, 0, 0]).prod(-1) / np.sort(color[:, 0, 0]).prod(-1)
    assert np.all((0.75**3 <= ratio) & (ratio <= 1)) and not np.allclose(found.renders, color)


@pytest.mark.slow
def test_training_on_two_logs_repairs_a_third_and_keeps_the_best_checkpoint():
    lines = []
    network = init_params(KEY, TINY)["network"]
    logs = [pairs(0), pairs(1, 4, 20, 16)]
    schedule = trainer.Schedule(check_every=20)
    best, last = trainer.train(
        network, logs, [pairs(2)], TINY, SETTINGS, schedule, log=lambda step, values: lines.append((step, values))
    )
    assert [step for step, _ in lines] == [20, 40]
    before, after = (trainer.score(params, [pairs(2)], TINY, None) for params in (network, best))
    np.testing.assert_array_equal(before.psnr, before.psnr_render)
    assert after.psnr.mean() > before.psnr.mean() + 1.0
    assert after.loss() == min(trainer.score(params, [pairs(2)], TINY, None).loss() for params in (best, last))


def test_a_crop_must_fit_into_all_logs():
    network = init_params(KEY, TINY)["network"]
    with pytest.raises(ValueError, match=r"16 x 20 pixels"):
        trainer.train(network, [pairs(0)], [], TINY, TrainSettings(crop=(17, 16)))


def test_a_repair_that_lowers_psnr_is_not_chosen_for_a_small_gain_in_lpips():
    one = np.ones(2)
    better = trainer.RepairScores(20 * one, 20.3 * one, 0.2 * one, 0.17 * one)
    sharper = trainer.RepairScores(20 * one, 19.8 * one, 0.2 * one, 0.16 * one)
    assert better.loss() < trainer.RepairScores(20 * one, 20 * one, 0.2 * one, 0.2 * one).loss() < sharper.loss() + 0.2
    assert better.loss() < sharper.loss() and jnp.isclose(better.summary()["psnr_worst"], 0.3)


@pytest.mark.slow
def test_a_stopped_training_continues_to_the_same_bits(tmp_path, monkeypatch):
    """It is stopped at its first check, between two checks, and while it saves."""
    save = trainer.checkpoint.save
    network, logs, val = init_params(KEY, TINY)["network"], [pairs(0), pairs(1, 4, 20, 16)], [pairs(2)]
    settings = dataclasses.replace(SETTINGS, steps=8)

    def run(folder, log=lambda *_: None, request=None):
        schedule = trainer.Schedule(check_every=4, folder=folder, request=request or StopRequest())
        return trainer.train(network, logs, val, TINY, settings, schedule, log=log)

    request, whole = StopRequest(), run(tmp_path / "whole")

    def ask(step, _):
        request.is_made = True

    def ask_late(request):
        request.is_made = True

    with pytest.raises(StoppedError, match="step 4"):
        run(tmp_path / "stopped", ask, request)
    again = StopRequest(is_made=True)
    with pytest.raises(StoppedError, match="step 5"):
        run(tmp_path / "stopped", request=again)
    late = StopRequest()
    with monkeypatch.context() as patch:
        patch.setattr(trainer.checkpoint, "save", lambda *parts, keep: save(*parts, keep=keep) or ask_late(late))
        with pytest.raises(StoppedError, match="step 8"):
            run(tmp_path / "stopped", request=late)
    for one, other in zip(whole, run(tmp_path / "stopped"), strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, other)
