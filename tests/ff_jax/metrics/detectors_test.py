"""Detectors against the post-processing their authors publish, written out per anchor."""

import numpy as np
import pytest

from ff_jax.data.formats import cameras_json
from ff_jax.data.lazy_arrays import read_image
from ff_jax.data.loader import load_image
from ff_jax.metrics import detectors
from ff_jax.metrics.detectors import Detections, box_iou, load_detector, suppress_non_maxima
from tests.random_inputs import seeded_rng

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")

pytestmark = pytest.mark.slow


WAYMO = ("FRONT", "FRONT_LEFT", "SIDE_LEFT", "FRONT_RIGHT", "SIDE_RIGHT")
YOLOX, YOLOV5 = "weights/yolox_nano_coco/yolox_nano_416.onnx", "weights/yolov5n_coco/yolov5n_fp16_640.onnx"


def overlap(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union > 0 else 0.0


def naive_nms(candidates, iou):
    """Keep (box, score, class) triples, best first, that no better one of the class overlaps by more than `iou`."""
    kept = []
    for candidate in sorted(candidates, key=lambda c: -c[1]):
        if all(c[2] != candidate[2] or overlap(c[0], candidate[0]) <= iou for c in kept):
            kept.append(candidate)
    return kept


def letterbox(image, size, rows, columns, top, left):
    """Resize with PyTorch, round to 8 bits as OpenCV does, and surround with gray 114."""
    tensor = torch.from_numpy(image.transpose(2, 0, 1).copy())[None] * 255
    small = torch.nn.functional.interpolate(tensor, (rows, columns), mode="bilinear", align_corners=False)
    canvas = torch.full((1, 3, size, size), 114.0)
    canvas[:, :, top : top + rows, left : left + columns] = small.round()
    return canvas.numpy()


def naive_yolox(session, image, least=0.25, iou=0.45):
    scale = min(416 / image.shape[0], 416 / image.shape[1])
    rows, columns = int(image.shape[0] * scale), int(image.shape[1] * scale)
    pixels = letterbox(image, 416, rows, columns, 0, 0)[:, ::-1].copy()
    output = session.run(None, {"images": pixels})[0][0]
    candidates, anchor = [], 0
    for stride in (8, 16, 32):
        for row in range(416 // stride):
            for column in range(416 // stride):
                v = output[anchor].astype(float)
                anchor += 1
                label = int(v[5:].argmax())
                score = v[4] * v[5 + label]
                if score < least:
                    continue
                x, y = (v[0] + column) * stride, (v[1] + row) * stride
                w, h = np.exp(v[2]) * stride, np.exp(v[3]) * stride
                box = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) / scale
                candidates.append((box, score, label))
    assert anchor == len(output)
    return naive_nms(candidates, iou)


def naive_yolov5(session, image, least=0.25, iou=0.45):
    scale = min(640 / image.shape[0], 640 / image.shape[1])
    rows, columns = round(image.shape[0] * scale), round(image.shape[1] * scale)
    top, left = round((640 - rows) / 2 - 0.1), round((640 - columns) / 2 - 0.1)
    pixels = letterbox(image, 640, rows, columns, top, left) / 255
    output = session.run(None, {"images": pixels.astype(np.float16)})[0][0].astype(float)
    # The published inverse takes the margin before rounding, so boxes move by up to 2/3 of an input pixel.
    published = [(640 - image.shape[1] * scale) / 2, (640 - image.shape[0] * scale) / 2]
    assert np.abs(np.subtract(published, [left, top])).max() < 0.7
    margin = np.array([left, top] * 2)
    candidates = []
    for v in output:
        label = int(v[5:].argmax())
        score = v[4] * v[5 + label]
        if score > least:
            x, y, w, h = v[:4]
            box = (np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) - margin) / scale
            candidates.append((box, score, label))
    return naive_nms(candidates, iou)


def real_images(assets):
    data = assets / "data"
    kitti = cameras_json.load(data / "kitti02_stereo_color").frames
    ddad = cameras_json.load(data / "ddad_dgp_6cam").frames
    waymo = [read_image(data / "waymo_1frame_5cam" / "images" / f"{name}.jpg") for name in WAYMO]
    return [load_image(frame) for frame in (*kitti[::9], *ddad[:12])] + waymo


@pytest.mark.assets
@pytest.mark.parametrize(("name", "layout", "naive"), [(YOLOX, "yolox", naive_yolox), (YOLOV5, "yolov5", naive_yolov5)])
def test_detections_on_real_images_are_those_of_the_published_processing(assets, name, layout, naive):
    detect = load_detector(assets / name, layout)
    session = onnxruntime.InferenceSession(str(assets / name), providers=["CPUExecutionProvider"])
    total = 0
    for image in real_images(assets):
        found, expected = detect(image), naive(session, image)
        height, width = image.shape[:2]
        total += len(expected)
        assert len(found.scores) == len(expected)
        if not expected:
            continue
        boxes = np.clip([c[0] for c in expected], 0, [width, height, width, height])
        np.testing.assert_array_equal(found.classes, [c[2] for c in expected])
        np.testing.assert_allclose(found.scores, [c[1] for c in expected], atol=5e-3)
        # A few pixels round to the other side of 8 bits.
        np.testing.assert_allclose(found.boxes, boxes, atol=0.2)
    assert total > 40


def fixed_network(path, output, size=(64, 96)):
    """Write a network that answers any image of `size` with `output`, whatever it shows."""
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    constant = onnx.numpy_helper.from_array(output, "rows")
    nodes = [
        helper.make_node("ReduceSum", ["images"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["rows", "nothing"], ["output0"]),
    ]
    inputs = [helper.make_tensor_value_info("images", real, [1, 3, *size])]
    outputs = [helper.make_tensor_value_info("output0", real, list(output.shape))]
    zero = onnx.numpy_helper.from_array(np.float32(0), "zero")
    graph = helper.make_graph(nodes, "g", inputs, outputs, [constant, zero])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_ultralytics_layout_against_a_loop_over_anchors(tmp_path):
    rng = seeded_rng()
    anchors, (height, width) = 60, (120, 170)
    output = np.zeros((1, 84, anchors), np.float32)
    output[0, :2] = rng.uniform([[0], [0]], [[96], [64]], (2, anchors))
    output[0, 2:4] = rng.uniform(5, 60, (2, anchors))
    output[0, 4:] = rng.random((80, anchors)) ** 40  # few classes score high
    output[0, 4:7] += rng.random((3, anchors)) * 0.5
    image = rng.random((height, width, 3)).astype(np.float32)
    found = load_detector(fixed_network(tmp_path / "a.onnx", output), "ultralytics", score=0.3)(image)
    scale = min(64 / height, 96 / width)
    margin = np.array([(96 - round(width * scale)) // 2, (64 - round(height * scale)) // 2] * 2)
    candidates = []
    for v in output[0].T.astype(float):
        label = int(v[4:].argmax())
        if v[4 + label] > 0.3:
            box = np.array([v[0] - v[2] / 2, v[1] - v[3] / 2, v[0] + v[2] / 2, v[1] + v[3] / 2])
            candidates.append((box, v[4 + label], label))
    expected = naive_nms(candidates, 0.7)
    boxes = np.clip([(c[0] - margin) / scale for c in expected], 0, [width, height, width, height])
    assert len(expected) > 10
    np.testing.assert_array_equal(found.classes, [c[2] for c in expected])
    np.testing.assert_allclose(found.scores, [c[1] for c in expected], rtol=1e-6)
    np.testing.assert_allclose(found.boxes, boxes, atol=1e-3)


@pytest.mark.parametrize("layout", detectors.LAYOUTS)
@pytest.mark.parametrize("shape", [(37, 90), (90, 37), (64, 96), (33, 33)])
def test_preprocessing_puts_the_image_where_it_says(layout, shape):
    """A bright rectangle is found, in the input, where the placement maps its edges."""
    image = np.zeros((*shape, 3), np.float32)
    top, bottom, left, right = shape[0] // 4, shape[0] // 2, shape[1] // 3, shape[1] // 2
    image[top:bottom, left:right] = (1.0, 0.5, 0.25)
    pixels, placement = detectors.LAYOUTS[layout].preprocess(image, 320, 416)
    assert pixels.shape == (1, 3, 320, 416) and pixels.dtype == np.float32
    planes = pixels[0] if layout != "yolox" else pixels[0, ::-1] / 255
    bright = planes[0] > (1 + 114 / 255) / 2
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    edges = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    expected = np.array([left, top, right, bottom]) * placement.scale + [placement.left, placement.top] * 2
    # The share of a bright neighbor above which a pixel counts as bright is not one half.
    np.testing.assert_allclose(edges, expected, atol=0.25 * placement.scale + 1)
    inside = planes[:, (rows[0] + rows[-1]) // 2, (columns[0] + columns[-1]) // 2]
    np.testing.assert_allclose(inside, [1, 128 / 255, 64 / 255], atol=1 / 255)
    corner = planes[:, -1, -1]
    if shape != (64, 96):
        np.testing.assert_allclose(corner, 114 / 255, atol=1e-6)


def test_suppression_equals_a_loop():
    rng = seeded_rng()
    low = rng.uniform(0, 60, (200, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 40, (200, 2))], 1).astype(np.float32)
    found = Detections(boxes, rng.random(200).astype(np.float32), rng.integers(0, 3, 200))
    kept = suppress_non_maxima(found, 0.4)
    expected = naive_nms(list(zip(boxes.astype(float), found.scores, found.classes, strict=True)), 0.4)
    assert 10 < len(expected) < 190
    np.testing.assert_array_equal(kept.scores, [c[1] for c in expected])
    np.testing.assert_array_equal(kept.classes, [c[2] for c in expected])
    np.testing.assert_allclose(kept.boxes, [c[0] for c in expected])
    merged = suppress_non_maxima(found, 0.4, across_classes=True)
    blind = naive_nms(list(zip(boxes.astype(float), found.scores, np.zeros(200), strict=True)), 0.4)
    np.testing.assert_array_equal(merged.scores, [c[1] for c in blind])
    assert len(np.unique(merged.classes)) == 3
    assert len(suppress_non_maxima(Detections(boxes[:0], found.scores[:0], found.classes[:0]), 0.4).scores) == 0


def test_box_iou_equals_a_loop_and_is_zero_for_empty_boxes():
    rng = seeded_rng()
    low = rng.uniform(0, 10, (30, 2))
    boxes = np.concatenate([low, low + rng.uniform(0, 8, (30, 2))], 1)
    expected = [[overlap(a, b) for b in boxes] for a in boxes]
    np.testing.assert_allclose(box_iou(boxes, boxes), expected, atol=1e-12)
    assert box_iou(np.zeros((1, 4)), np.zeros((1, 4))) == 0


def test_wrong_layouts_and_networks_are_named(tmp_path):
    path = fixed_network(tmp_path / "a.onnx", np.zeros((1, 84, 10), np.float32))
    with pytest.raises(ValueError, match="invalid layout='detr': expected one of yolox, yolov5, ultralytics"):
        load_detector(path, "detr")
    for layout in ("yolox", "yolov5"):
        with pytest.raises(
            ValueError, match=rf"layout='{layout}': it expects an output of .*, but the file has \(1, 84, 10\)"
        ):
            load_detector(path, layout)(np.zeros((8, 8, 3)))
    with pytest.raises(ValueError, match="has no pixel"):
        load_detector(path, "ultralytics")(np.zeros((0, 8, 3)))
    free = fixed_network(tmp_path / "b.onnx", np.zeros((1, 84, 10), np.float32), size=("height", "width"))
    with pytest.raises(ValueError, match="export it with a fixed size and a batch of one"):
        load_detector(free, "ultralytics")
