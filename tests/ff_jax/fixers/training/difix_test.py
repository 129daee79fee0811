"""Difix as a network to train: what is split, what is frozen, and where gradients go."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from ff_jax.fixers.difix import lora, losses, model, unet
from ff_jax.fixers.difix.config import DifixConfig, ImageVaeConfig, UNetConfig
from ff_jax.fixers.training.sharding import make_mesh, shardings
from ff_jax.fixers.training.state import gradient, join, split
from ff_jax.fixers.triples import Triples

pytestmark = pytest.mark.slow

CONFIG = DifixConfig(UNetConfig((32, 64), (1, 2), 1, 8, 2), ImageVaeConfig((8, 16), 1, 8), dtype="float32")
TRAINED = ("unet", "skips", "guidance")


def test_the_denoiser_s_layers_are_split_in_pairs():
    mesh = AbstractMesh((1, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    block = shardings({"unet": unet.shapes(DifixConfig())}, mesh)["unet"]["mid_block"]["attentions_0"]
    block = block["transformer_blocks_0"]
    rows, columns = PartitionSpec("model"), PartitionSpec(None, "model")
    assert {block[f"attn{i}"][f"to_{name}"]["kernel"].spec for i in (1, 2) for name in "qkv"} == {columns}
    assert block["attn1"]["to_out_0"]["kernel"].spec == block["ff"]["net_2"]["kernel"].spec == rows
    assert block["ff"]["net_0"]["proj"]["kernel"].spec == columns


def test_all_is_trained_but_the_autoencoder_and_its_decoder_through_an_update():
    shapes = model.shapes(CONFIG)
    trained, frozen = split(shapes, TRAINED)
    assert (set(trained), set(frozen)) == (set(TRAINED), {"vae", "text"})
    assert jax.tree.structure(join(trained, frozen)) == jax.tree.structure(shapes)
    decoder = {"vae": {"decoder": shapes["vae"]["decoder"]}}
    params = trained | {"update": lora.init(jax.random.key(0), decoder, CONFIG.vae.rank)}

    def loss(params, frozen, batch, keys):
        parts = join({name: params[name] for name in TRAINED}, frozen)
        merged = lora.merge(parts, params["update"], CONFIG.vae.alpha / CONFIG.vae.rank)
        return losses.loss(merged, batch, keys[0], CONFIG), {}

    image = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    batch = Triples(image, jax.ShapeDtypeStruct((2, 8, 8), jnp.float32), image, image)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
    whole = lambda *arguments: gradient(loss, *arguments, 2, make_mesh(1, 1, jax.devices()[:1]))
    change, _ = jax.eval_shape(whole, params, frozen, batch, keys)
    jax.tree.map(lambda leaf, found: np.testing.assert_equal(found.shape, leaf.shape), params, change)
