"""Fitting the fixer to a log."""

import dataclasses
import sys

import jax
import numpy as np
import pytest

from ff_jax.fixers.fixer import fix
from ff_jax.fixers.reference_unet import training
from ff_jax.fixers.reference_unet.config import ReferenceUnetConfig
from ff_jax.fixers.reference_unet.fixer import fixer_from_params
from ff_jax.fixers.self_fit import SelfFitConfig, fit, start_params
from ff_jax.fixers.self_fit.fit import split_block
from ff_jax.fixers.triples import Triples

pytestmark = pytest.mark.slow

NETWORK = ReferenceUnetConfig(widths=(8, 8), num_references=1)
TINY = SelfFitConfig(network=NETWORK, crop=(16, 16), steps=60, warmup=5, lr=5e-3, checks=3, ema=0.9)
KEY = jax.random.key(7)


def smooth_images(rng, count, height=16, width=24):
    """Return images of a few soft discs on a gradient."""
    y, x = np.mgrid[:height, :width] / width
    images = np.repeat((0.3 + 0.4 * x * rng.random((count, 1, 1)))[..., None], 3, -1)
    for _ in range(4):
        cy, cx, color = rng.random((count, 1, 1)), rng.random((count, 1, 1)), rng.random((count, 1, 1, 3))
        disc = 1 / (1 + np.exp(60 * (np.hypot(y - cy, x - cx) - 0.2)))[..., None]
        images = images * (1 - disc) + disc * color
    return images.astype(np.float32)


def degraded(seed, count=8):
    """Return triples whose renders are discolored in known vertical stripes, where EIG is high."""
    rng = np.random.default_rng(seed)
    targets = smooth_images(rng, count)
    bad = (rng.random((count, 1, targets.shape[2])) < 0.5) * np.ones((count, targets.shape[1], 1))
    renders = np.where(bad[..., None] > 0, 0.6 * targets + 0.3, targets).astype(np.float32)
    references = np.concatenate([np.roll(targets, 3, 2), np.ones_like(targets[..., :1])], -1)[:, None]
    return Triples(renders, (2.0 * bad).astype(np.float32), references, targets)


def error(fixer, triples):
    fixed = fix(fixer, KEY, triples.renders, triples.eigs, triples.references)
    return float(np.mean((fixed - triples.targets) ** 2))


def test_a_fit_repairs_unseen_triples_and_is_bit_reproducible():
    calls = []
    bar = type("Bar", (), {"update": staticmethod(calls.append)})
    fixer, history = fit(KEY, degraded(0), TINY, bar)
    unseen = degraded(1)
    before = float(np.mean((unseen.renders - unseen.targets) ** 2))
    assert error(fixer, unseen) < 0.5 * before
    assert sum(calls) == TINY.steps and history["step"] == [20, 40, 60]
    assert history["psnr_fixed"] > history["psnr_render"] + 1.0 and fixer.name == "self_fit"
    assert history["loss"][-1] < history["loss"][0]
    again, same = fit(KEY, degraded(0), TINY)
    assert same == history
    jax.tree.map(np.testing.assert_array_equal, again.params, fixer.params)


def test_a_fit_that_cannot_help_returns_the_identity():
    triples = degraded(2)
    perfect = triples.replace(targets=triples.renders)
    fixer, history = fit(KEY, perfect, dataclasses.replace(TINY, steps=2, lr=1.0, checks=1, ema=0.0, warmup=0))
    assert history["psnr_fixed"] == history["psnr_render"]
    assert history["best_step"] == 0 and history["gain"] == 0.0
    fixed = fix(fixer, KEY, triples.renders, triples.eigs, triples.references)
    np.testing.assert_array_equal(fixed, triples.renders)


def test_a_fit_starts_from_trained_weights_and_keeps_them_if_nothing_is_better(monkeypatch):
    trained = fit(KEY, degraded(0), TINY)[0].params
    trained["gain"] = np.float32(1.0)
    # The package names the function `fit` as its module.
    monkeypatch.setattr(sys.modules[fit.__module__], "start_params", lambda key, config: trained)
    harmful = dataclasses.replace(TINY, steps=1, lr=10.0, checks=1, ema=0.0, warmup=0)
    fixer, history = fit(KEY, degraded(3), harmful)
    assert history["best_step"] == 0 and history["gain"] > 0.5
    jax.tree.map(np.testing.assert_array_equal, fixer.params["network"], trained["network"])


def test_weights_from_the_middle_of_a_fit_stay_usable(monkeypatch):
    monkeypatch.setattr(training, "learning_rate", lambda settings, done: 5e-3 if done < 2 / 3 else 10.0)
    triples = degraded(0)
    fixer, history = fit(KEY, triples, TINY)
    assert history["best_step"] in (20, 40)
    assert error(fixer, triples) < float(np.mean((triples.renders - triples.targets) ** 2))


def test_another_layout_starts_from_new_weights_that_change_nothing():
    fixer = fixer_from_params(start_params(KEY, NETWORK), NETWORK)
    triples = degraded(4)
    np.testing.assert_array_equal(fix(fixer, KEY, triples.renders, triples.eigs, triples.references), triples.renders)


def test_the_held_out_block_is_contiguous_and_the_rest_is_trained_on():
    for seed in range(5):
        train, held = split_block(jax.random.key(seed), 11, 0.2)
        assert len(held) == 2 and np.all(np.diff(held) == 1)
        assert sorted([*train.tolist(), *held.tolist()]) == list(range(11))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.replace(targets=t.targets[:, :-1]), "real image of every rendered view"),
        (lambda t: t.replace(eigs=t.eigs[:-1]), "one EIG map"),
        (lambda t: t.replace(references=t.references[:, 0, ..., :3]), "several re-projected images"),
        (lambda t: jax.tree.map(lambda x: x[:1], t), "at least 2 triples"),
    ],
)
def test_triples_that_do_not_belong_together_are_refused(spoil, message):
    with pytest.raises(ValueError, match=message):
        fit(KEY, spoil(degraded(0)), TINY)


def test_a_fit_learns_from_a_condition_what_the_render_does_not_show():
    """The true color is in the channels of a condition that is left out now and then; there are no references."""
    network = dataclasses.replace(NETWORK, use_references=False, conditions=("boxes",))
    config = dataclasses.replace(TINY, network=network, steps=120, lr=1e-2, checks=2, condition_dropout=0.1)

    def blind(seed):
        triples, truth = degraded(seed), degraded(seed).targets
        given = np.concatenate([truth, np.ones_like(truth[..., :1])], -1)
        gray = np.full_like(truth, 0.5)
        eigs = np.ones_like(triples.eigs)
        return Triples(gray, eigs, gray, truth, None, {"boxes": given})

    fixer, _ = fit(KEY, blind(0), config)
    unseen = blind(1)

    def error_with(conditions):
        fixed = fix(fixer, KEY, unseen.renders, unseen.eigs, unseen.references, conditions)
        return float(np.mean((fixed - unseen.targets) ** 2))

    before = float(np.mean((unseen.renders - unseen.targets) ** 2))
    without = {"boxes": np.zeros_like(unseen.conditions["boxes"])}
    assert error_with(unseen.conditions) < 0.7 * min(before, error_with(without))


def test_conditions_are_added_to_the_trained_network_of_the_package():
    plain = ReferenceUnetConfig()
    config = dataclasses.replace(plain, conditions=("lidar",))
    layers, trained = (start_params(KEY, c)["network"]["params"] for c in (config, plain))
    added = layers.pop("conditions")
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(added)) and set(layers) == set(trained)
    jax.tree.map(np.testing.assert_array_equal, layers, trained)
