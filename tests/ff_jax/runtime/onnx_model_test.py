"""Opening and running ONNX files, with small networks made here."""

import sys

import numpy as np
import pytest

from ff_jax.runtime.onnx_model import open_network
from tests.random_inputs import seeded_rng

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture
def path(tmp_path):
    """Return a network that adds `b` (2, 3) float32 to `a` of free height and also doubles it."""
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    value = lambda name, shape, kind=real: helper.make_tensor_value_info(name, kind, shape)
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Add", ["a", "a"], ["double"])]
    inputs = [value("a", ["n", 3]), value("b", [2, 3])]
    graph = helper.make_graph(nodes, "g", inputs, [value("sum", ["n", 3]), value("double", ["n", 3])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "add.onnx")
    return tmp_path / "add.onnx"


def test_a_network_says_what_it_takes_and_computes_it(path):
    rng = seeded_rng()
    network = open_network(path)
    assert [tuple(spec) for spec in network.inputs] == [("a", (None, 3), np.float32), ("b", (2, 3), np.float32)]
    assert [spec.name for spec in network.outputs] == ["sum", "double"]
    a, b = rng.normal(size=(2, 2, 3)).astype(np.float32)
    total, double = network.run({"a": a, "b": b})
    np.testing.assert_array_equal(total, a + b)
    np.testing.assert_array_equal(double, 2 * a)
    turned = network.run({"a": np.asfortranarray(a), "b": b[::-1][::-1]})
    np.testing.assert_array_equal(turned[0], a + b)


def test_wrong_inputs_are_named(path):
    network = open_network(path)
    a = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="expects the inputs a, b, got a"):
        network.run({"a": a})
    with pytest.raises(ValueError, match=r"input 'a' must be \?x3 float32, got \(2, 4\) float32"):
        network.run({"a": np.zeros((2, 4), np.float32), "b": a})
    with pytest.raises(ValueError, match=r"input 'b' must be 2x3 float32, got \(2, 3\) float64"):
        network.run({"a": a, "b": a.astype(np.float64)})
    with pytest.raises(ValueError, match=r"add\.onnx failed \(.*\)"):
        network.run({"a": np.zeros((5, 3), np.float32), "b": a})


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(ValueError, match=r"no such file"):
        open_network(tmp_path / "none.onnx")
    (tmp_path / "broken.onnx").write_text("hello")
    with pytest.raises(ValueError, match=r"broken\.onnx: not a network that runs \(.*\)"):
        open_network(tmp_path / "broken.onnx")


def test_without_onnxruntime_the_package_is_named(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="ONNX networks need onnxruntime: pip install onnxruntime"):
        open_network(path)


@pytest.mark.assets
@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("yolox_nano_coco/yolox_nano_416.onnx", (1, 3, 416, 416), np.float32),
        ("yolov5n_coco/yolov5n_fp16_640.onnx", (1, 3, 640, 640), np.float16),
    ],
)
def test_real_detectors_open(assets, name, shape, dtype):
    (spec,) = open_network(assets / "weights" / name).inputs
    assert spec == ("images", shape, np.dtype(dtype))
