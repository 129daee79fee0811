"""Networks in files."""

import jax
import numpy as np
import pytest

from ff_jax.fixers import weights
from tests.random_inputs import seeded_rng


def test_a_file_stores_half_precision_and_refuses_larger_values(tmp_path):
    rng, path = seeded_rng(), tmp_path / "a.safetensors"
    network = {"a": {"kernel": rng.normal(size=(3, 4)).astype(np.float32)}, "b": np.float32([1.5])}
    weights.save(path, network)
    found = weights.load(path, network, "the test")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), found, network)
    assert weights.num_params(network) == 13 and found["b"].dtype == np.float32
    with pytest.raises(ValueError, match=r"the test \(.*a\.safetensors\): the file has the weights of another network"):
        weights.load(path, {"a": network["a"]}, "the test")
    with pytest.raises(ValueError, match="b has values that float16 cannot hold"):
        weights.save(path, network | {"b": np.float32([1e6])})
