"""Reading .safetensors files tensor by tensor."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from ff_jax.fixers.convert.safetensors_shards import read_tensors
from tests.random_inputs import seeded_rng


@pytest.fixture
def tensors():
    rng = seeded_rng()
    dtypes = {"a.weight": np.float32, "b": np.float16, "c": ml_dtypes.bfloat16, "d": np.int32}
    return {name: (9 * rng.normal(size=(3, 5))).astype(dtype) for name, dtype in dtypes.items()}


def check(path, tensors):
    found = dict(read_tensors(path))
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        np.testing.assert_array_equal(found[name], tensor)


def split(folder, tensors):
    """Write two shards and the index that names them."""
    names = sorted(tensors)
    files = {"model-1.safetensors": names[:2], "model-2.safetensors": names[2:]}
    for file, part in files.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in files.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_one_file_or_a_folder_with_it(tmp_path, tensors):
    save_file(tensors, tmp_path / "model.safetensors")
    check(tmp_path / "model.safetensors", tensors)
    check(tmp_path, tensors)


def test_shards_with_and_without_index(tmp_path, tensors):
    split(tmp_path, tensors)
    save_file(tensors, tmp_path / "other.safetensors")  # not in the index
    check(tmp_path, tensors)
    (tmp_path / "other.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").unlink()
    check(tmp_path, tensors)


def test_wrong_folders_are_refused(tmp_path, tensors):
    with pytest.raises(ValueError, match=r"has no \.safetensors file"):
        list(read_tensors(tmp_path))
    with pytest.raises(ValueError, match=r"expected a \.safetensors file"):
        list(read_tensors(tmp_path / "model.bin"))
    split(tmp_path, tensors)
    index = tmp_path / "model.safetensors.index.json"
    (tmp_path / "model-2.safetensors").rename(tmp_path / "again.safetensors")
    with pytest.raises(ValueError, match=r"lacks 1 of 2 files \(model-2\.safetensors\)"):
        list(read_tensors(tmp_path))
    index.write_text("[]")
    with pytest.raises(ValueError, match="is not an index of weights"):
        list(read_tensors(tmp_path))
    index.rename(tmp_path / "kept")
    save_file(tensors, tmp_path / "zz.safetensors")
    with pytest.raises(ValueError, match=r"is in .*model-1.* and in .*zz"):
        list(read_tensors(tmp_path))


def test_torn_files_are_named(tmp_path, tensors):
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be read"):
        list(read_tensors(path))
