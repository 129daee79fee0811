"""Aligned references: initially the identity, and every input can be learned from."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.difix import fixer, model, reference_stem
from ff_jax.fixers.difix.config import tiny
from tests.ff_jax.fixers.difix import torch_difix
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

CONFIG = dataclasses.replace(torch_difix.CONFIG, use_aligned_references=True)


@pytest.fixture(scope="module")
def run():
    """Return the jitted network with the pull-back to guidance, skips and the last layer."""

    @torch_difix.jit
    def both(params, frames, eig, references, cotangent):
        out, pull = jax.vjp(lambda p: model.repair(p, frames, eig, references, CONFIG), params)
        return out, pull(cotangent)[0]

    return both


@pytest.fixture
def case():
    rng = seeded_rng()
    frames, references, cotangent = rng.random((3, 2, 12, 16, 3), np.float32)
    return frames, rng.exponential(1.0, (2, 12, 16)).astype(np.float32), references, cotangent


def trained(params):
    """Return the parameters with random guidance, skips and last layer."""
    rng = seeded_rng()
    draw = lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32)
    decoder = params["vae"]["decoder"] | {"conv_out": jax.tree.map(draw, params["vae"]["decoder"]["conv_out"])}
    vae = params["vae"] | {"decoder": decoder}
    return params | {"vae": vae} | {name: jax.tree.map(draw, params[name]) for name in ("guidance", "skips")}


def test_an_untrained_network_is_the_identity_bit_for_bit_and_its_last_layer_learns(run, case):
    params = model.init(jax.random.key(1), CONFIG)
    out, change = run(params, *case)
    np.testing.assert_array_equal(out, case[0])
    last = change["vae"]["decoder"]["conv_out"]["kernel"]
    assert np.abs(last).max((0, 1, 2)).min() > 1e-6  # correction and share


def test_every_input_matters_and_learns(run, case):
    params = trained(model.init(jax.random.key(2), CONFIG))
    frames, eig, references, cotangent = case
    out, change = run(params, *case)
    for name, kernel in change["guidance"]["stem"].items():
        assert np.abs(kernel).max((0, 1, 3)).min() > 1e-6, name
    for name, skip in change["skips"].items():
        channels = skip["kernel"].shape[2]
        assert channels % 2 == 0 and np.abs(skip["kernel"]).max((0, 1, 3)).min() > 1e-6, name
    for other in ((frames, 2 * eig, references), (frames, eig, references[::-1])):
        assert np.abs(run(params, *other, cotangent)[0] - out).max() > 1e-2


def test_no_eig_equals_zero_eig(run, case):
    params = trained(model.init(jax.random.key(3), CONFIG))
    frames, eig, references, cotangent = case
    plain = torch_difix.jit(lambda *inputs: model.repair(*inputs[:2], None, inputs[2], CONFIG))
    expected = run(params, frames, 0 * eig, references, cotangent)[0]
    np.testing.assert_allclose(plain(params, frames, references), expected, atol=1e-4)


def test_a_share_of_one_gives_the_reference():
    frames, references = seeded_rng().random((2, 1, 3, 4, 3), np.float32)
    decoded = np.zeros((1, 3, 4, 4), np.float32)
    decoded[..., 3] = 1.0
    decoded[..., 1] = 0.25
    found = reference_stem.combine(*map(jnp.asarray, (decoded, frames, references)))
    np.testing.assert_allclose(found, references + np.array([0, 0.25, 0]), atol=1e-6)


def test_the_fixer_asks_for_aligned_references():
    assert fixer.fixer_from_params({}, tiny()).use_aligned_references
    assert not fixer.fixer_from_params({}, torch_difix.CONFIG).use_aligned_references
