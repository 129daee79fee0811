"""Weights of CogVideoX: the networks here against diffusers' on random weights, through real files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from ff_jax.fixers.convert import cogvideox
from ff_jax.fixers.convert.name_mapping import slots, to_torch
from ff_jax.fixers.eigent import network_config as configs
from ff_jax.fixers.eigent import vae
from ff_jax.fixers.eigent.network_config import DitConfig, VideoVaeConfig
from ff_jax.fixers.eigent.transformer import Dit
from tests.ff_jax.fixers.eigent import originals
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

torch = originals.torch
SMALL = {"depth": 3, "heads": 2, "head_dim": 32, "text_dim": 24, "text_length": 7, "time_dim": 20, "sample": (3, 6, 8)}
LATER = {**SMALL, "sample": (4, 6, 8), "patch_time": 2, "positions": "rope_slice"}
VARIANTS = {
    "2b": DitConfig(**SMALL, in_channels=6, out_channels=6, positions="sincos"),
    "5b": DitConfig(**SMALL, in_channels=6, out_channels=6, positions="rope"),
    "i2v": DitConfig(**SMALL, in_channels=12, out_channels=6, positions="rope_learned"),
    "1.5": DitConfig(**LATER, in_channels=6, out_channels=6),
    "1.5-i2v": DitConfig(**LATER, in_channels=12, out_channels=6, offset_dim=20),
}
AUTOENCODER = VideoVaeConfig(widths=(8, 16, 8, 8), latent_channels=4, layers=1, groups=4, scale=0.6)
PUBLISHED = {
    "2b": configs.COGVIDEOX_2B,
    "5b": configs.COGVIDEOX_5B,
    "i2v": configs.COGVIDEOX_5B_I2V,
    "1.5": configs.COGVIDEOX_15_5B,
    "1.5-i2v": configs.COGVIDEOX_15_5B_I2V,
}


@pytest.fixture(scope="module", params=VARIANTS)
def pair(request, tmp_path_factory):
    """Return a variant, diffusers' network, the folder of its shards, and the parameters loaded from there."""
    config, folder = VARIANTS[request.param], tmp_path_factory.mktemp(request.param)
    network = originals.transformer(config)
    originals.randomise(network)
    network.save_pretrained(folder, safe_serialization=True, max_shard_size="100KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    return config, network, folder, cogvideox.load_transformer(folder, config)


# Rotary and fixed positions are made for other sizes than the sample's, too.
SIZES = {"sincos": (2, 4, 12), "rope": (4, 10, 6), "rope_learned": (3, 6, 8), "rope_slice": (6, 4, 8)}


def draw(config, size):
    """Return latents, text and time steps."""
    rng = seeded_rng()
    latents, text = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((2, *size, config.in_channels), (2, config.text_length, config.text_dim))
    )
    return latents, text, rng.integers(0, 1000, 2)


def test_transformer_equals_the_original(pair):
    config, network, _, params = pair
    inputs = draw(config, SIZES[config.positions])
    expected = originals.run_transformer(network, config, *inputs)
    assert originals.relative(jax.jit(Dit(config).apply)({"params": params}, *inputs), expected) < 1e-4


@pytest.mark.parametrize("pair", ["i2v", "1.5-i2v"], indirect=True)
def test_gradients_equal_the_original(pair):
    config, network, _, params = pair
    inputs = draw(config, config.sample)
    weights = seeded_rng().normal(size=(*inputs[0].shape[:-1], config.out_channels)).astype(np.float32)

    def loss(params, inputs):
        return jnp.sum(Dit(config, remat=True).apply({"params": params}, *inputs) * weights)

    found = to_torch(jax.jit(jax.grad(loss))(params, inputs), cogvideox.TRANSFORMER)
    expected = originals.gradients(network, config, *inputs, weights)
    # Learned positions are none of the original's parameters.
    assert found.keys() - expected.keys() == {"patch_embed.pos_embedding"} & found.keys()
    for name, gradient in expected.items():
        assert originals.relative(found[name], gradient) < 1e-3, name


def test_transformer_round_trip_is_exact(pair, tmp_path):
    config, network, _, params = pair
    tensors = to_torch(params, cogvideox.TRANSFORMER)
    for name, tensor in network.state_dict().items():
        np.testing.assert_array_equal(tensors.pop(name), tensor.float().numpy())
    assert not tensors
    save_file(to_torch(params, cogvideox.TRANSFORMER), tmp_path / "again.safetensors")
    again = cogvideox.load_transformer(tmp_path / "again.safetensors", config)
    jax.tree.map(np.testing.assert_array_equal, params, again)


def test_wrong_weights_are_named(pair, tmp_path):
    config, _, _, params = pair
    tensors = to_torch(params, cogvideox.TRANSFORMER)
    del tensors["transformer_blocks.1.ff.net.2.bias"]
    tensors["transformer_blocks.3.ff.net.2.bias"] = np.zeros(3, np.float32)
    save_file(tensors, tmp_path / "wrong.safetensors")
    with pytest.raises(ValueError, match=r"missing: transformer_blocks\.1\.ff.*surplus: transformer_blocks\.3\.ff"):
        cogvideox.load_transformer(tmp_path / "wrong.safetensors", config)


def test_parameters_can_be_kept_in_bfloat16(pair):
    config, _, folder, params = pair
    halves = cogvideox.load_transformer(folder, config, jnp.bfloat16)
    for half, full in zip(jax.tree.leaves(halves), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(half, full.astype(jnp.bfloat16))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
    with torch.device("meta"):
        # The names of saved tensors: learned positions are among them, computed ones are not.
        expected = {
            key: tuple(tensor.shape) for key, tensor in originals.transformer(PUBLISHED[name]).state_dict().items()
        }
    shapes = cogvideox.transformer_shapes(PUBLISHED[name])
    leaves = flatten_dict(shapes)
    places = slots(shapes, cogvideox.TRANSFORMER)
    assert {key: slot.shape(leaves[slot.path].shape) for key, slot in places.items()} == expected
    count = sum(np.prod(leaf.shape) for leaf in leaves.values())
    assert count == sum(np.prod(shape) for shape in expected.values())
    billions = {"2b": 1.6938, "5b": 5.5703, "i2v": 5.6251, "1.5": 5.5707, "1.5-i2v": 5.5716}[name]
    assert abs(count / 1e9 - billions) < 1e-4, count


@pytest.fixture(scope="module")
def autoencoders(tmp_path_factory):
    """Return diffusers' autoencoder, and the parameters loaded from its shards."""
    folder = tmp_path_factory.mktemp("vae")
    network = originals.autoencoder(AUTOENCODER)
    originals.randomise(network)
    network.save_pretrained(folder, safe_serialization=True, max_shard_size="50KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    return network, cogvideox.load_autoencoder(folder, AUTOENCODER)


@pytest.mark.parametrize("frames", [1, 17])
def test_encoder_equals_the_original(autoencoders, frames):
    network, params = autoencoders
    video = seeded_rng().random((2, frames, 16, 24, 3), np.float32)
    moments = vae.encode(AUTOENCODER, params, video)
    with torch.no_grad():
        expected = network.encode(torch.tensor(2 * video.transpose(0, 4, 1, 2, 3) - 1)).latent_dist
    assert moments.mean.shape == (2, 1 + (frames - 1) // 4, 2, 3, 4)
    assert originals.relative(moments.mean, 0.6 * originals.last(expected.mean)) < 1e-4
    assert originals.relative(moments.log_variance - 2 * np.log(0.6), originals.last(expected.logvar)) < 1e-4


def test_decoder_equals_the_original(autoencoders):
    network, params = autoencoders
    latents = seeded_rng().normal(size=(2, 7, 2, 3, 4)).astype(np.float32)
    video = vae.decode(AUTOENCODER, params, latents)
    with torch.no_grad():
        expected = network.decode(torch.tensor(latents.transpose(0, 4, 1, 2, 3) / np.float32(0.6))).sample
    assert video.shape == (2, 25, 16, 24, 3)
    assert originals.relative(2 * video - 1, originals.last(expected)) < 1e-4


def test_autoencoder_round_trip_is_exact(autoencoders):
    network, params = autoencoders
    tensors = to_torch(params, cogvideox.AUTOENCODER)
    for name, tensor in network.state_dict().items():
        np.testing.assert_array_equal(tensors.pop(name), tensor.numpy())
    assert not tensors


def test_published_size_of_the_autoencoder():
    with torch.device("meta"):
        expected = {
            key: tuple(value.shape) for key, value in originals.autoencoder(configs.VAE_5B).state_dict().items()
        }
    shapes = cogvideox.autoencoder_shapes(configs.VAE_5B)
    assert slots(shapes, cogvideox.AUTOENCODER).keys() == expected.keys()
    count = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    assert count == sum(np.prod(shape) for shape in expected.values())
    assert abs(count / 1e6 - 215.6) < 0.1, count
