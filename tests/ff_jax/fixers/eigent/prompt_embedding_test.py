"""The stored prompt embedding: both file types, and wrong files."""

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from ff_jax.fixers.eigent.prompt_embedding import load_prompt
from tests.random_inputs import seeded_rng


def test_prompt_files_of_both_types(tmp_path):
    embedding = seeded_rng().normal(size=(6, 3)).astype(np.float32)
    np.savez(tmp_path / "prompt.npz", embedding=embedding)
    save_file({"embedding": np.asarray(jnp.asarray(embedding, jnp.bfloat16))}, tmp_path / "prompt.safetensors")
    np.testing.assert_array_equal(load_prompt(tmp_path / "prompt.npz", 6, 3), embedding)
    np.testing.assert_allclose(load_prompt(tmp_path / "prompt.safetensors", 6, 3), embedding, rtol=1e-2)


def test_wrong_files_are_named(tmp_path):
    np.savez(tmp_path / "prompt.npz", embedding=np.zeros((5, 3), np.float32))
    with pytest.raises(ValueError, match=r"misshapen: embedding \(5, 3\) instead of \(6, 3\)"):
        load_prompt(tmp_path / "prompt.npz", 6, 3)
    with pytest.raises(ValueError, match="no such file"):
        load_prompt(tmp_path / "absent.npz", 6, 3)
