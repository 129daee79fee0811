"""The reference U-Net and its fixer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.conditions import CHANNELS, leave_out
from ff_jax.fixers.fixer import fix
from ff_jax.fixers.reference_unet.config import ReferenceUnetConfig
from ff_jax.fixers.reference_unet.fixer import fixer_from_params, init_params, with_gain
from ff_jax.fixers.reference_unet.model import LAST_LAYER, Network, fold, unfold
from ff_jax.fixers.triples import as_bytes
from tests.random_inputs import seeded_rng

TINY = ReferenceUnetConfig(widths=(4, 8), num_references=2)
KEY = jax.random.key(1)


def clip(length, height, width, seed=0):
    rng = np.random.default_rng(seed)
    frames = rng.random((length, height, width, 3), np.float32)
    references = rng.random((length, 2, height, width, 4), np.float32)
    return frames, rng.exponential(size=(length, height, width)).astype(np.float32), references


def shaken(config=TINY, scale=0.3):
    """Return a fixer whose parameters, last layer included, are random."""
    rng = np.random.default_rng(9)
    network = init_params(KEY, config)["network"]
    network = jax.tree.map(lambda x: x + scale * rng.normal(size=x.shape).astype(np.float32), network)
    return fixer_from_params(with_gain(network, 1.0), config)


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


def test_odd_sizes_equal_edge_padded_ones_and_bytes_equal_floats():
    frames, eig, references = clip(2, 7, 10)
    references = np.asarray(as_bytes(references))
    fixer = shaken()
    got = fix(fixer, KEY, frames, eig, references)

    def grow(x, axis):
        margins = [(0, 0)] * axis + [(0, 1), (0, 2)] + [(0, 0)] * (x.ndim - axis - 2)
        return np.pad(x, margins, "edge")

    padded = grow(frames, 1), grow(eig, 1), grow(references / np.float32(255), 2)
    want = fix(fixer, KEY, *padded)[:, :7, :10]
    assert not np.allclose(got, frames, atol=1e-3)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_pixels_without_eig_keep_the_render_and_the_change_is_bounded_by_the_weight():
    frames, eig, references = clip(2, 8, 8)
    eig[:, :4] = 0.0
    got = fix(shaken(), KEY, frames, eig, references)
    np.testing.assert_array_equal(got[:, :4], frames[:, :4])
    weight = 1.0 - np.exp(-eig / TINY.kappa)[..., None]
    assert np.all(np.abs(got - frames) <= weight + 1e-6)
    assert np.abs(got - frames).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_the_network_can_take_over_any_reference_and_never_one_without_confidence(index):
    frames, _, references = clip(1, 8, 8)
    references[..., 3] = 1.0
    references[:, index, :, 4:, 3] = 0.0
    network = init_params(KEY, TINY)["network"]
    # Channels of the last layer, for each of the 2 x 2 pixels: correction, share, odds of the render and references.
    bias = np.zeros((4, 7), np.float32)
    bias[:, 3], bias[:, 5 + index] = 1.0, 5.0
    network["params"][LAST_LAYER]["bias"] = jnp.asarray(bias.reshape(-1))
    inputs = frames, 0.0 * frames[..., 0], np.moveaxis(references, 1, 3)
    residual = Network(TINY).apply(network, *map(jnp.asarray, inputs))
    difference = references[:, index, ..., :3] - frames
    np.testing.assert_allclose(residual[:, :, :4], difference[:, :, :4], atol=0.03)  # e^5 against the odds of others
    assert np.abs(residual - difference)[:, :, 4:].mean() > 0.1


@pytest.mark.slow
def test_a_network_without_eig_does_not_depend_on_it():
    frames, eig, references = clip(1, 8, 8)
    same = {}
    for is_conditioned in (True, False):
        config = dataclasses.replace(TINY, conditioned_on_eig=is_conditioned)
        network = Network(config)
        params = shaken(config).params["network"]
        inputs = jnp.asarray(np.moveaxis(references, 1, 3))
        first, second = (network.apply(params, jnp.asarray(frames), jnp.asarray(e), inputs) for e in (eig, 2 * eig))
        same[is_conditioned] = np.array_equal(first, second)
    assert same == {True: False, False: True}


@pytest.mark.parametrize("change", [{"widths": ()}, {"num_references": 0}, {"dtype": "int8"}])
def test_networks_that_do_not_exist_are_refused(change):
    with pytest.raises(ValueError, match=f"invalid {next(iter(change))}"):
        ReferenceUnetConfig(**change)


def test_new_conditions_change_nothing_and_trained_ones_are_seen():
    names = ("boxes", "lidar")
    config = dataclasses.replace(TINY, conditions=names)
    frames, eig, references = clip(2, 8, 8)
    rng = seeded_rng()
    conditions = {name: rng.random((2, 8, 8, CHANNELS[name] + 1), np.float32) for name in names}
    plain, seeing = shaken(), shaken(config)
    layers = seeing.params["network"]["params"]
    added = {"conditions": jax.tree.map(jnp.zeros_like, layers["conditions"])}
    extended = fixer_from_params(with_gain({"params": plain.params["network"]["params"] | added}, 1.0), config)
    np.testing.assert_array_equal(
        fix(extended, KEY, frames, eig, references, conditions), fix(plain, KEY, frames, eig, references)
    )
    without = leave_out(KEY, conditions, 1.0)
    first, second = (fix(seeing, KEY, frames, eig, references, given) for given in (conditions, without))
    assert np.abs(first - second).max() > 1e-3


def test_a_network_without_references_ignores_them():
    config = dataclasses.replace(TINY, use_references=False)
    frames, eig, references = clip(2, 8, 8)
    fixer, hidden = shaken(config), references * np.float32([1, 1, 1, 0])
    hidden[..., :3] = frames[:, None]
    plain = fix(fixer, KEY, frames, eig, references[:, 0, ..., :3])
    np.testing.assert_array_equal(plain, fix(fixer, KEY, frames, eig, references[:, 1, ..., :3]))
    np.testing.assert_allclose(plain, fix(shaken(), KEY, frames, eig, hidden), atol=1e-6)
