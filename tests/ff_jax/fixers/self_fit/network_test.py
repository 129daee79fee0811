"""The self-fit network and its fixer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.fixer import fix
from ff_jax.fixers.self_fit import SelfFitConfig, fixer_from_params, init_params
from ff_jax.fixers.self_fit.network import fold, unfold

TINY = SelfFitConfig(widths=(4, 8), crop=(8, 8), chunk=2)
KEY = jax.random.key(1)


def clip(length, height, width, seed=0):
    rng = np.random.default_rng(seed)
    frames, references = rng.random((2, length, height, width, 3), np.float32)
    return frames, rng.exponential(size=(length, height, width)).astype(np.float32), references


def shaken(config=TINY, scale=0.3):
    """Return a fixer whose parameters, last layer included, are random."""
    params = init_params(KEY, config)
    rng = np.random.default_rng(9)
    params = jax.tree.map(lambda x: x + scale * rng.normal(size=x.shape).astype(np.float32), params)
    return fixer_from_params(params | {"gain": jnp.ones(())}, config)


def test_unfold_undoes_fold_and_fold_keeps_places():
    x = jnp.asarray(np.random.default_rng(0).random((2, 6, 9, 4), np.float32))
    folded = fold(x, 3)
    assert folded.shape == (2, 2, 3, 36)
    np.testing.assert_array_equal(folded[0, 1, 2].reshape(3, 3, 4), x[0, 3:6, 6:9])
    np.testing.assert_array_equal(unfold(folded, 3), x)


def test_identity_at_initialization_for_odd_sizes():
    fixer = fixer_from_params(init_params(KEY, TINY), TINY)
    frames, eig, references = clip(3, 7, 9)
    np.testing.assert_array_equal(fix(fixer, KEY, frames, eig, references), frames)


def test_odd_sizes_equal_edge_padded_ones():
    frames, eig, references = clip(2, 7, 10)
    fixer = shaken()
    got = fix(fixer, KEY, frames, eig, references)

    def grow(x):
        return np.pad(x, [(0, 0), (0, 1), (0, 2)] + [(0, 0)] * (x.ndim - 3), "edge")

    want = fix(fixer, KEY, grow(frames), grow(eig), grow(references))[:, :7, :10]
    assert not np.allclose(got, frames, atol=1e-3)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_pixels_without_eig_keep_the_render_and_the_change_is_bounded_by_the_weight():
    frames, eig, references = clip(2, 8, 8)
    eig[:, :4] = 0.0
    got = fix(shaken(), KEY, frames, eig, references)
    np.testing.assert_array_equal(got[:, :4], frames[:, :4])
    weight = 1.0 - np.exp(-eig / TINY.kappa)[..., None]
    assert np.all(np.abs(got - frames) <= weight + 1e-6)
    assert np.abs(got - frames).max() > 0.01


def test_the_reference_reaches_the_repair_through_its_difference():
    frames, eig, references = clip(2, 8, 8)
    fixer = shaken()
    got = fix(fixer, KEY, frames, eig, references)
    assert np.abs(got - fix(fixer, KEY, frames, eig, frames)).max() > 0.01


def test_a_crop_below_the_stride_is_refused():
    with pytest.raises(ValueError, match="= 4 pixels"):
        SelfFitConfig(widths=(4, 8), crop=(2, 8))
