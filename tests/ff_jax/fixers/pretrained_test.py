"""Weights in a file."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers import weights
from ff_jax.fixers.difix import model
from ff_jax.fixers.pretrained import load_fixer
from tests.ff_jax.fixers.difix import torch_difix

pytestmark = pytest.mark.slow

CONFIG = dataclasses.replace(torch_difix.CONFIG, use_aligned_references=True)


@pytest.fixture(scope="module")
def network():
    return model.init(jax.random.key(0), CONFIG)


def test_a_file_gives_back_the_network_in_half_precision(network, tmp_path):
    weights.save(tmp_path / "a.safetensors", network)
    found = load_fixer("difix", tmp_path / "a.safetensors", CONFIG)
    assert found.use_aligned_references and found.name == "difix" and float(found.params["gain"]) == 1.0
    expected = jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.float16).astype(np.float32), network)
    jax.tree.map(np.testing.assert_array_equal, found.params["network"], expected)
    size = (tmp_path / "a.safetensors").stat().st_size
    assert 2 * weights.num_params(network) < size < 2 * weights.num_params(network) + 100_000


def test_another_layout_and_diverged_parameters_are_refused(network, tmp_path):
    path = tmp_path / "a.safetensors"
    weights.save(path, network)
    with pytest.raises(ValueError, match="the file has the weights of another network"):
        load_fixer("difix", path, torch_difix.CONFIG)
    with pytest.raises(ValueError, match="no such file"):
        load_fixer("difix", tmp_path / "b.safetensors", CONFIG)
    with pytest.raises(ValueError, match="text has values that float16 cannot hold"):
        weights.save(path, network | {"text": jnp.full((1, 2), 1e6)})
