"""Prompts: tokens and embeddings through a tiny pipeline on the disk, the encoder against transformers'."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from ff_jax.fixers.convert import t5 as convert
from ff_jax.fixers.convert.name_mapping import slots
from ff_jax.fixers.eigent import prompt_embedding
from ff_jax.fixers.eigent.t5 import T5Config, T5Encoder
from tests.ff_jax.fixers.eigent import originals

transformers = pytest.importorskip("transformers")
torch = originals.torch
CONFIG = T5Config(vocabulary=30, depth=3, heads=2, head_dim=8, width=24, hidden=20)
LENGTH = 150  # positions farther than 128 apart share a bucket
WORDS = "a static street scene seen by a camera that moves to the left </s> <pad> <unk>".split()


def original(config):
    return transformers.T5EncoderModel(
        transformers.T5Config(
            vocab_size=config.vocabulary,
            d_model=config.width,
            d_kv=config.head_dim,
            d_ff=config.hidden,
            num_layers=config.depth,
            num_heads=config.heads,
            feed_forward_proj="gated-gelu",
        )
    ).eval()


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """Return a folder with tokenizer and encoder, and the encoder."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder, network = tmp_path_factory.mktemp("pipeline"), original(CONFIG)
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(dict.fromkeys(WORDS))}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>")
    tokenizer.save_pretrained(folder / "tokenizer")
    originals.randomise(network)
    network.save_pretrained(folder / "text_encoder", safe_serialization=True, max_shard_size="10KB")
    assert len(list((folder / "text_encoder").glob("*.safetensors"))) > 1
    return folder, network


def test_embeddings_equal_the_original_and_are_kept(pipeline, tmp_path):
    folder, network = pipeline
    prompt = "a camera moves along a street"
    ids = prompt_embedding.tokenize(prompt, folder / "tokenizer", LENGTH)
    words = list(dict.fromkeys(WORDS))
    assert [words[i] for i in ids[:7]] == ["a", "camera", "moves", "<unk>", "a", "street", "<pad>"]
    with torch.no_grad():
        expected = network(torch.tensor(ids[None].astype(np.int64))).last_hidden_state[0].numpy()
    found = prompt_embedding.embed_prompt(prompt, folder, tmp_path, CONFIG, LENGTH)
    assert originals.relative(found, expected) < 1e-4
    np.testing.assert_array_equal(
        prompt_embedding.embed_prompt(prompt, folder / "gone", tmp_path, CONFIG, LENGTH), found
    )
    with pytest.raises(ValueError, match="no such folder; give a pipeline"):
        prompt_embedding.embed_prompt(prompt + "s", folder / "gone", tmp_path, CONFIG, LENGTH)


def test_every_weight_counts_and_comes_back(pipeline):
    folder, network = pipeline
    params = convert.load_t5(folder / "text_encoder", CONFIG)
    tensors = convert.t5_to_torch(params)
    for name, tensor in network.state_dict().items():
        if name != "encoder.embed_tokens.weight":
            np.testing.assert_array_equal(tensors.pop(name), tensor.numpy())
    assert not tensors


def test_published_size():
    with torch.device("meta"):
        expected = original(T5Config()).state_dict()
    shapes = convert.t5_shapes(T5Config())
    assert slots(shapes, convert.T5).keys() == expected.keys() - {"encoder.embed_tokens.weight"}
    assert abs(sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) / 1e9 - 4.76) < 0.01


def test_wrong_weights_and_files_are_named(pipeline, tmp_path):
    folder, _ = pipeline
    tensors = convert.t5_to_torch(convert.load_t5(folder / "text_encoder", CONFIG))
    del tensors["encoder.block.2.layer.1.DenseReluDense.wo.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"missing: encoder\.block\.2\.layer\.1"):
        convert.load_t5(tmp_path, CONFIG)
    prompt_embedding.save_prompt(tmp_path / "prompt.npz", np.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"misshapen: embedding \(5, 3\) instead of \(6, 3\)"):
        prompt_embedding.load_prompt(tmp_path / "prompt.npz", 6, 3)
    shutil.copytree(folder / "tokenizer", tmp_path / "tokenizer")
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match="tokenizer cannot be read"):
        prompt_embedding.tokenize("a", tmp_path / "tokenizer", 4)


def test_prompt_files_of_both_types(tmp_path):
    embedding = np.random.default_rng().normal(size=(6, 3)).astype(np.float32)
    prompt_embedding.save_prompt(tmp_path / "prompt.npz", embedding)
    save_file({"embedding": np.asarray(jnp.asarray(embedding, jnp.bfloat16))}, tmp_path / "prompt.safetensors")
    np.testing.assert_array_equal(prompt_embedding.load_prompt(tmp_path / "prompt.npz", 6, 3), embedding)
    np.testing.assert_allclose(
        prompt_embedding.load_prompt(tmp_path / "prompt.safetensors", 6, 3), embedding, rtol=1e-2
    )


def test_bfloat16_is_close(pipeline):
    folder, network = pipeline
    ids = np.random.default_rng().integers(0, CONFIG.vocabulary, (2, 9))
    params = convert.load_t5(folder / "text_encoder", CONFIG, jnp.bfloat16)
    found = jax.jit(T5Encoder(CONFIG, jnp.bfloat16).apply)({"params": params}, jnp.asarray(ids))
    assert found.dtype == jnp.bfloat16
    with torch.no_grad():
        assert originals.relative(found, network(torch.tensor(ids)).last_hidden_state.numpy()) < 0.25
