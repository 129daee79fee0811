"""Placement on meshes of one device; `devices_test` does the same on several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from ff_jax.fixers.convert.cogvideox import transformer_shapes
from ff_jax.fixers.eigent.context_branch import branch_params
from ff_jax.fixers.eigent.network_config import COGVIDEOX_5B_I2V
from ff_jax.fixers.training.sharding import make_mesh, shard, shard_batch, shardings
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow


def abstract(data, model):
    return AbstractMesh((data, model), ("data", "model"), axis_types=(AxisType.Auto,) * 2)


def specs(tree, mesh):
    paths = jax.tree_util.tree_leaves_with_path(shardings(tree, mesh))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): place.spec for path, place in paths}


def share(tree, mesh):
    """Return which share of the numbers one device holds."""
    whole = jax.tree.map(lambda leaf: np.prod(leaf.shape), tree)
    held = jax.tree.map(lambda leaf, place: np.prod(place.shard_shape(leaf.shape)), tree, shardings(tree, mesh))
    return sum(jax.tree.leaves(held)) / sum(jax.tree.leaves(whole))


def test_the_published_branch_is_split_in_pairs():
    backbone = transformer_shapes(COGVIDEOX_5B_I2V, jnp.bfloat16)
    branch = jax.eval_shape(lambda backbone: branch_params(backbone, COGVIDEOX_5B_I2V), backbone)
    found = specs({"mu": branch}, abstract(2, 4))
    first, second = PartitionSpec(None, None, "model"), PartitionSpec(None, "model")
    for attention in ("attn1", "attn_reference"):
        assert {found[f"mu/blocks/{attention}/to_{name}/kernel"] for name in "qkv"} == {first}
        assert found[f"mu/blocks/{attention}/to_out/kernel"] == second
    assert (found["mu/blocks/ff_in/kernel"], found["mu/blocks/ff_out/kernel"]) == (first, second)
    split = {path for path, spec in found.items() if spec != PartitionSpec()}
    assert split == {path for path in split if path.endswith("/kernel")} and len(split) == 10
    assert share(backbone, abstract(1, 8)) < 0.5
    assert share(backbone, abstract(8, 1)) == 1


def test_what_does_not_divide_is_replicated():
    tree = {"to_q": {"kernel": jnp.zeros((4, 6)), "bias": jnp.zeros(6)}, "not_to_q": {"kernel": jnp.zeros((4, 8))}}
    assert set(specs(tree, abstract(1, 4)).values()) == {PartitionSpec()}
    assert specs(tree, abstract(1, 3))["to_q/kernel"] == PartitionSpec(None, "model")


def test_one_device_holds_all():
    mesh = make_mesh(1, 1, jax.devices()[:1])
    tree = {"ff_out": {"kernel": seeded_rng().normal(size=(2, 4, 3))}, "key": jax.random.key(1)}
    placed = shard(tree, mesh)
    np.testing.assert_array_equal(placed["ff_out"]["kernel"], tree["ff_out"]["kernel"].astype(np.float32))
    assert placed["key"] == tree["key"]
    np.testing.assert_array_equal(shard_batch(tree["ff_out"], mesh)["kernel"], placed["ff_out"]["kernel"])


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match="data=2 times model=3 must be the number of devices, 1"):
        make_mesh(2, 3, jax.devices()[:1])
    with pytest.raises(ValueError, match=r"shape \(\) does not split into 1 parts"):
        shard_batch(jnp.zeros(()), make_mesh(1, 1, jax.devices()[:1]))
