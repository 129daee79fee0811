"""How EIG enters: resolutions, names of blocks, and the first convolution."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.difix import eig_conditioning, unet
from ff_jax.fixers.difix.eig_conditioning import EigCondition
from tests.ff_jax.fixers.difix import torch_difix
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow


def test_every_transformer_block_has_a_name_and_a_strength():
    shapes = torch_difix.published_shapes()["unet"]
    names = eig_conditioning.block_names(shapes)
    stages = ["down_blocks_0"] * 2 + ["down_blocks_1"] * 2 + ["down_blocks_2"] * 2 + ["mid_block"]
    stages += ["up_blocks_1"] * 3 + ["up_blocks_2"] * 3 + ["up_blocks_3"] * 3
    assert [name.split(".")[0] for name in names] == stages
    added = jax.eval_shape(lambda: eig_conditioning.init(shapes, 4))
    assert added["conv_in"]["kernel"].shape == (3, 3, 5, 320) and sorted(added["strength"]) == names


def test_untrained_conditioning_is_zero():
    added = eig_conditioning.init(jax.tree.map(lambda leaf: jnp.ones(leaf.shape), unet.shapes(torch_difix.CONFIG)), 4)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(added))


def test_pooling_averages_over_squares():
    eig = seeded_rng().random((2, 3, 8, 12), np.float32)
    found = eig_conditioning.average_pool(jnp.asarray(eig), 4)
    assert found.shape == (2, 3, 2, 3)
    np.testing.assert_allclose(found[1, 2, 1, 0], eig[1, 2, 4:, :4].mean(), rtol=1e-5)
    np.testing.assert_array_equal(eig_conditioning.average_pool(jnp.asarray(eig), 1), eig)


def test_the_first_convolution_equals_one_of_all_nine_channels():
    rng = seeded_rng()
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    kernel, latents, eig = draw(3, 3, 9, 8), draw(2, 6, 7, 4), jnp.abs(draw(1, 2, 6, 7))
    conv = lambda kernel, x: nn.Conv(8, (3, 3), padding=1, use_bias=False, name="conv_in").apply(
        {"params": {"kernel": kernel}}, x
    )
    channel = eig[0, ..., None]
    expected = conv(kernel, jnp.concatenate([latents, channel, channel * latents], -1))

    class First(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Conv(8, (3, 3), padding=1, use_bias=False, name="conv_in")(x)

    condition = EigCondition({"conv_in": {"kernel": kernel[:, :, 4:]}, "strength": {}}, eig)
    with nn.intercept_methods(eig_conditioning.interceptor(condition, 1)):
        found = First().apply({"params": {"conv_in": {"kernel": kernel[:, :, :4]}}}, latents)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
