"""Weights of SD-Turbo and Difix: names both ways, low-rank updates, damaged files, and the text encoder."""

import dataclasses
import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from ff_jax.fixers.convert import difix
from ff_jax.fixers.convert.name_mapping import slots, to_torch
from ff_jax.fixers.difix import model
from ff_jax.fixers.difix.config import published
from tests.ff_jax.fixers.difix import torch_difix
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

torch = torch_difix.torch
CONFIG = torch_difix.CONFIG
TEXT = jnp.ones((5, 24))


_shapes = functools.cache(model.shapes)


@pytest.fixture
def arrays(monkeypatch):
    """Return tensors of denoiser and autoencoder by name; trace the networks' shapes once for all tests."""
    monkeypatch.setattr(difix.model, "shapes", _shapes)
    return torch_difix.tensors(torch_difix.random_networks())


def convert(arrays, text=TEXT):
    return difix.convert(*(part.items() for part in arrays), text, CONFIG)


def adapted(arrays, adapter):
    """Return the autoencoder in peft's layout and, for comparison, with the update merged by hand."""
    rng, split, merged = seeded_rng(), {}, dict(arrays)
    for name, weight in arrays.items():
        if not (name.startswith("decoder.") and name.endswith(".weight") and weight.ndim > 1):
            split[name.replace(".bias", ".base_layer.bias") if "conv" in name and "norm" not in name else name] = weight
            continue
        a = rng.normal(size=(2, *weight.shape[1:])).astype(np.float32)
        b = rng.normal(size=(len(weight), 2, *[1] * (weight.ndim - 2))).astype(np.float32)
        module = name.removesuffix(".weight")
        split |= {f"{module}.lora_{side}.{adapter}weight": factor for side, factor in (("A", a), ("B", b))}
        split[f"{module}.base_layer.weight"] = weight
        merged[name] = weight + 1.5 * np.einsum("or,r...->o...", b.reshape(-1, 2), a)
    return split, merged


def test_names_and_axes_round_trip(arrays):
    unet, vae = arrays
    params = convert(arrays)
    expected = model.shapes(CONFIG)
    assert jax.tree.map(lambda leaf: leaf.shape, params) == jax.tree.map(lambda leaf: leaf.shape, expected)
    back = to_torch(params["unet"], difix.UNET), to_torch(params["vae"] | {"skips": params["skips"]}, difix.VAE)
    for found, tensors in zip(back, (unet, vae), strict=True):
        assert found.keys() == tensors.keys()
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(found[name], tensor, err_msg=name)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(params["guidance"]))


def test_the_published_networks_have_these_names_and_shapes():
    shapes = torch_difix.published_shapes()
    with torch.device("meta"):
        original = torch_difix.networks(published())
    skips = {f"decoder.skip_conv_{i}.weight": skip.weight for i, skip in enumerate(original.skips, 1)}
    tables = (
        (original.unet.state_dict(), difix.UNET, shapes["unet"]),
        (original.vae.state_dict() | skips, difix.VAE, shapes["vae"] | {"skips": shapes["skips"]}),
    )
    for tensors, rules, expected in tables:
        found = slots(expected, rules)
        assert found.keys() == tensors.keys()
        for name, slot in found.items():
            leaf = expected
            for part in slot.path:
                leaf = leaf[part]
            assert slot.shape(leaf.shape) == tuple(tensors[name].shape), name
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    numel = lambda module: sum(weight.numel() for weight in module.parameters())
    assert (count(shapes["unet"]), count(shapes["vae"])) == (numel(original.unet), numel(original.vae))
    assert count(shapes["skips"]) == numel(original.skips)


@pytest.mark.parametrize("adapter", ["vae_skip.", ""])
def test_a_low_rank_update_is_merged(arrays, adapter):
    unet, vae = arrays
    split, merged = adapted(vae, adapter)
    assert sum("lora_A" in name for name in split) > 10
    expected = convert((unet, merged))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), convert((unet, split)), expected)


def test_a_torn_update_is_named(arrays):
    split, _ = adapted(arrays[1], "vae_skip.")
    del split["decoder.conv_in.lora_B.vae_skip.weight"]
    with pytest.raises(ValueError, match=r"update of decoder\.conv_in: lora_B missing"):
        difix.merge_adapters(split.items(), 1.0)
    split, _ = adapted(arrays[1], "vae_skip.")
    split["decoder.conv_in.lora_A.vae_skip.weight"] = np.zeros((2, 3, 3, 3), np.float32)
    with pytest.raises(ValueError, match=r"update of decoder\.conv_in: .* does not fit \(32, 4, 3, 3\)"):
        difix.merge_adapters(split.items(), 1.0)
    split["decoder.conv_in.lora_A.vae_skip.weight"] = np.zeros((3, 4, 3, 3), np.float32)
    with pytest.raises(ValueError, match=r"update of decoder\.conv_in: .* does not fit \(32, 4, 3, 3\)"):
        difix.merge_adapters(split.items(), 1.0)


def test_an_autoencoder_without_skips_gets_untrained_ones(arrays):
    unet, vae = arrays
    bare = {name: tensor for name, tensor in vae.items() if "skip_conv" not in name}
    params = convert((unet, bare))
    assert {float(value) for leaf in jax.tree.leaves(params["skips"]) for value in np.unique(leaf)} == {
        np.float32(1e-5)
    }


def test_former_names_of_the_attention_are_understood(arrays):
    unet, vae = arrays
    former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for name, tensor in vae.items():
        match = re.search(r"to_(q|k|v|out\.0)", name)
        old[name.replace(match[0], former[match[0]]) if match else name] = tensor
    assert old.keys() != vae.keys()
    jax.tree.map(np.testing.assert_array_equal, convert((unet, old)), convert(arrays))


def test_missing_surplus_and_misshapen_tensors_are_named(arrays):
    unet, vae = arrays
    wrong = {name: tensor for name, tensor in unet.items() if name != "conv_in.bias"}
    wrong |= {"new.weight": np.zeros(3), "conv_out.bias": np.zeros(5, np.float32)}
    with pytest.raises(ValueError, match=r"U-Net.*missing: conv_in\.bias; surplus: new\.weight; misshapen: conv_out"):
        convert((wrong, vae))
    torn = {name: tensor for name, tensor in vae.items() if name != "decoder.skip_conv_2.weight"}
    with pytest.raises(ValueError, match=r"autoencoder.*missing: decoder\.skip_conv_2\.weight"):
        convert((unet, torn))
    with pytest.raises(ValueError, match=r"text embedding has shape \(4, 24\), the network takes \(5, 24\)"):
        convert(arrays, TEXT[:4])


def save_text_encoder(folder):
    """Write a tokenizer of letters and a random CLIP text encoder; return the latter."""
    from transformers import CLIPTextConfig, CLIPTextModel

    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 24}))
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=3,
        max_position_embeddings=24,
        hidden_act="gelu",
    )
    encoder = CLIPTextModel(config).eval()
    torch_difix.randomise(encoder.text_model)
    encoder.save_pretrained(folder / "text_encoder")
    return encoder, words


def test_a_folder_in_the_layout_of_diffusers_is_loaded(tmp_path, arrays):
    encoder, words = save_text_encoder(tmp_path)
    for name, tensors in zip(("unet", "vae"), arrays, strict=True):
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "diffusion_pytorch_model.safetensors")
    config = dataclasses.replace(CONFIG, unet=dataclasses.replace(CONFIG.unet, tokens=24))
    params = difix.load(tmp_path, config)
    pieces = ["<|startoftext|>", *"remov", "e</w>", *"degradatio", "n</w>", "<|endoftext|>"]
    ids = [words.index(piece) for piece in pieces]
    ids += [len(words) - 1] * (24 - len(ids))
    with torch.no_grad():
        expected = encoder(torch.tensor([ids])).last_hidden_state[0]
    assert torch_difix.relative_error(params["text"], expected) < 1e-4
    np.testing.assert_array_equal(params["unet"]["conv_out"]["bias"], arrays[0]["conv_out.bias"])
    (tmp_path / "text_encoder" / "config.json").unlink()
    with pytest.raises(ValueError, match=r"text_encoder: its config\.json cannot be read"):
        difix.embed(tmp_path, "remove degradation")
    with pytest.raises(ValueError, match="has no folder tokenizer"):
        difix.embed(tmp_path / "unet", "remove degradation")
