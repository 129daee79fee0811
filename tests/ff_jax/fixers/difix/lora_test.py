"""Low-rank updates against the layers that they stand for."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.difix import lora
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow


@pytest.fixture
def case():
    """Return parameters of a convolution and a linear layer, and a random update."""
    rng = seeded_rng()
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    params = {"conv": {"kernel": draw(3, 3, 4, 6), "bias": draw(6)}, "deep": {"linear": {"kernel": draw(4, 5)}}}
    update = jax.tree.map(lambda leaf: draw(*leaf.shape), lora.init(jax.random.key(0), params, 2))
    return params, update


def test_a_merged_update_equals_two_layers_beside_the_kernel(case):
    params, update = case
    merged = lora.merge(params, update, 1.5)
    x = seeded_rng().normal(size=(2, 5, 7, 4)).astype(np.float32)
    conv = lambda kernel: nn.Conv(kernel.shape[-1], kernel.shape[:2], use_bias=False).apply(
        {"params": {"kernel": kernel}}, x
    )
    low = conv(update["conv"]["a"]) @ update["conv"]["b"]
    np.testing.assert_allclose(
        conv(merged["conv"]["kernel"]), conv(params["conv"]["kernel"]) + 1.5 * low, rtol=1e-3, atol=1e-3
    )
    linear = update["deep"]["linear"]
    expected = x @ params["deep"]["linear"]["kernel"] + 1.5 * ((x @ linear["a"]) @ linear["b"])
    np.testing.assert_allclose(x @ merged["deep"]["linear"]["kernel"], expected, rtol=1e-3, atol=1e-3)
    assert merged["conv"]["bias"] is params["conv"]["bias"]


def test_a_new_update_changes_nothing_and_can_learn(case):
    params, _ = case
    update = lora.init(jax.random.key(1), params, 2)
    jax.tree.map(np.testing.assert_array_equal, lora.merge(params, update, 2.0), params)
    total = lambda update: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(lora.merge(params, update, 2.0)))
    gradient = jax.grad(total)(update)
    assert np.abs(gradient["conv"]["b"]).max() > 0 and np.abs(gradient["deep"]["linear"]["b"]).max() > 0
    assert not gradient["conv"]["a"].any()


def test_an_update_of_other_kernels_is_refused(case):
    params, update = case
    with pytest.raises(ValueError, match=r"update of deep/linear has shape \(4, 5\), its kernel nothing"):
        lora.merge({"conv": params["conv"]}, update, 1.0)
    params["conv"]["kernel"] = params["conv"]["kernel"][..., :5]
    with pytest.raises(ValueError, match=r"update of conv has shape \(3, 3, 4, 6\), its kernel \(3, 3, 4, 5\)"):
        lora.merge(params, update, 1.0)
