"""Fitting the self-fit fixer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.fixer import fix
from ff_jax.fixers.self_fit import SelfFitConfig, Triples, fit
from ff_jax.fixers.self_fit.crops import draw_crops
from ff_jax.fixers.self_fit.fit import split_block

TINY = SelfFitConfig(widths=(8, 8), crop=(16, 16), chunk=2, steps=60, warmup=5, lr=5e-3, checks=3, ema=0.9)
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
    references = np.roll(targets, 3, 2)
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
    assert history["psnr_fixed"] == max(history["psnr"]) > history["psnr_render"] + 1.0
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


def test_the_held_out_block_is_contiguous_and_the_rest_is_trained_on():
    for seed in range(5):
        train, held = split_block(jax.random.key(seed), 11, 0.2)
        assert len(held) == 2 and np.all(np.diff(held) == 1)
        assert sorted([*train.tolist(), *held.tolist()]) == list(range(11))


def test_crops_come_from_the_pool_and_fit_together():
    triples = jax.tree.map(jnp.asarray, degraded(3))
    # A ramp in place of the images shows where a crop was taken and whether it was mirrored.
    ramp = jnp.broadcast_to(jnp.arange(24.0)[None, None, :, None], triples.renders.shape)
    which = jnp.broadcast_to(jnp.arange(8.0)[:, None, None], triples.eigs.shape)
    batch = draw_crops(KEY, Triples(ramp, which, ramp, ramp), jnp.array([2, 5]), dataclasses.replace(TINY, batch=32))
    assert batch.renders.shape == (32, 16, 16, 3)
    assert set(np.unique(batch.eigs)) == {2.0, 5.0}
    np.testing.assert_array_equal(batch.renders, batch.targets)
    steps = np.diff(batch.renders[:, 0, :, 0])
    assert set(np.unique(steps)) == {-1.0, 1.0}
    assert np.all(steps == steps[:, :1])
    np.testing.assert_array_equal(batch.renders, batch.references)
    assert len(np.unique(batch.renders[:, 0, 0, 0])) > 3


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.replace(targets=t.targets[:, :-1]), "real image of every rendered view"),
        (lambda t: t.replace(eigs=t.eigs[:-1]), "one EIG map"),
        (lambda t: jax.tree.map(lambda x: x[:1], t), "at least 2 triples"),
    ],
)
def test_triples_that_do_not_belong_together_are_refused(spoil, message):
    with pytest.raises(ValueError, match=message):
        fit(KEY, spoil(degraded(0)), TINY)
