"""Tables of names, on a small network whose PyTorch form is written out here."""

import tracemalloc

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from ff_jax.fixers.convert.name_mapping import Rule, shapes_of, slots, to_flax, to_torch
from ff_jax.fixers.convert.safetensors_shards import read_tensors
from tests.random_inputs import seeded_rng

RULES = (
    Rule(r"layers\.(\d+)\.to_(q|k)", r"layers[\1]/\2", "linear"),
    Rule(r"layers\.(\d+)\.norm", r"layers[\1]/norm", "norm"),
    Rule(r"up\.(\d+)\.res\.(\d+)\.conv", r"up_\1_\2", "conv2d"),
    Rule(r"video", r"video", "conv3d"),
    Rule(r"patch", r"patch", "conv2d"),
    Rule(r"patch", r"patch", "patch3d"),
    Rule(r"words", r"text/words", "embed"),
    Rule(r"position", r"position", "raw"),
)
# PyTorch name, shape there, path, shape in the tree
TABLE = (
    ("layers.{}.to_q.weight", (5, 4), "layers/q/kernel", (3, 4, 5)),
    ("layers.{}.to_k.weight", (6, 4), "layers/k/kernel", (3, 4, 6)),
    ("layers.{}.to_k.bias", (6,), "layers/k/bias", (3, 6)),
    ("layers.{}.norm.weight", (4,), "layers/norm/scale", (3, 4)),
    ("layers.{}.norm.bias", (4,), "layers/norm/bias", (3, 4)),
    ("up.0.res.12.conv.weight", (7, 3, 1, 2), "up_0_12/kernel", (1, 2, 3, 7)),
    ("up.0.res.12.conv.bias", (7,), "up_0_12/bias", (7,)),
    ("video.weight", (7, 3, 1, 2, 4), "video/kernel", (1, 2, 4, 3, 7)),
    ("patch.weight", (7, 24), "patch/kernel", (1, 2, 4, 3, 7)),
    ("patch.bias", (7,), "patch/bias", (7,)),
    ("words.weight", (9, 2), "text/words/embedding", (9, 2)),
    ("position", (1, 2, 3), "position", (1, 2, 3)),
)


def expected():
    tree = {}
    for _, _, path, shape in TABLE:
        *folders, leaf = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = jax.ShapeDtypeStruct(shape, np.float32)
    return tree


def draw():
    rng = seeded_rng()
    names = [(name.format(i), shape) for name, shape, *_ in TABLE for i in range(3 if "{}" in name else 1)]
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in names}


def test_axes_and_slices():
    tensors = draw()
    found = {"/".join(path): leaf for path, leaf in flatten_dict(to_flax(tensors.items(), RULES, expected())).items()}
    np.testing.assert_array_equal(found["layers/q/kernel"][1], tensors["layers.1.to_q.weight"].T)
    np.testing.assert_array_equal(found["layers/norm/scale"][2], tensors["layers.2.norm.weight"])
    kernel = tensors["up.0.res.12.conv.weight"]
    np.testing.assert_array_equal(found["up_0_12/kernel"], np.einsum("oihw->hwio", kernel))
    np.testing.assert_array_equal(found["video/kernel"], np.einsum("oithw->thwio", tensors["video.weight"]))
    patch = tensors["patch.weight"].reshape(7, 3, 1, 2, 4)
    np.testing.assert_array_equal(found["patch/kernel"], np.einsum("oithw->thwio", patch))
    np.testing.assert_array_equal(found["text/words/embedding"], tensors["words.weight"])
    np.testing.assert_array_equal(found["position"], tensors["position"])


def test_round_trip_is_exact_in_any_order():
    tensors = draw()
    shuffled = [list(tensors.items())[i] for i in seeded_rng().permutation(len(tensors))]
    back = to_torch(to_flax(iter(shuffled), RULES, expected()), RULES)
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(back[name], tensor)
        assert back[name].flags.c_contiguous


def test_tensors_are_cast_to_the_expected_type():
    tensors = {name: tensor.astype(np.float16) for name, tensor in draw().items()}
    found = to_flax(tensors.items(), RULES, expected())
    assert found["position"].dtype == np.float32
    np.testing.assert_array_equal(found["position"], tensors["position"].astype(np.float32))


def test_wrong_tensors_are_named():
    tensors = draw()
    del tensors["layers.1.to_k.bias"]
    tensors["stranger"] = np.zeros(3)
    tensors["words.weight"] = np.zeros((9, 3))
    wrong = (
        r"tiny: .*missing: layers\.1\.to_k\.bias; surplus: stranger; "
        r"misshapen: words\.weight \(9, 3\) instead of \(9, 2\)"
    )
    with pytest.raises(ValueError, match=wrong):
        to_flax(tensors.items(), RULES, expected(), "tiny")


def test_wrong_tables_are_named():
    with pytest.raises(ValueError, match="no rule matches the parameter 'position'"):
        slots(expected(), RULES[:-1])
    with pytest.raises(ValueError, match=r"'up\.weight' would fill both"):
        slots({name: {"kernel": np.zeros((1, 1))} for name in "ab"}, [Rule("up", name, "linear") for name in "ab"])
    with pytest.raises(ValueError, match="invalid kind 'dense'"):
        slots(expected(), [Rule("a", "a", "dense")])
    with pytest.raises(ValueError, match="every group of the name must occur"):
        slots(expected(), [Rule(r"(\d+)\.(a|b)", r"\2", "linear")])


def test_shapes_come_without_arrays():
    import flax.linen as nn

    huge = shapes_of(nn.Dense(1 << 20).init, jax.ShapeDtypeStruct((1, 1 << 20), np.float32))
    assert huge["kernel"].shape == (1 << 20, 1 << 20)


def test_little_more_than_the_result_is_in_memory(tmp_path):
    rng, names = seeded_rng(), [f"layers.{i}.to_q.weight" for i in range(40)]
    save_file({name: rng.random((300, 200), np.float32) for name in names}, tmp_path / "model.safetensors")
    stack = {"layers": {"q": {"kernel": jax.ShapeDtypeStruct((40, 200, 300), np.float32)}}}
    tracemalloc.start()
    found = to_flax(read_tensors(tmp_path), RULES, stack)["layers"]["q"]["kernel"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.nbytes <= peak < found.nbytes * (1 + 6 / 40)
