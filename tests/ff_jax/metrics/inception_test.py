"""Inception features against the PyTorch original, resizes against Pillow and a naive loop."""

import numpy as np
import pytest
from PIL import Image

from ff_jax.metrics import inception
from tests.ff_jax.metrics import originals
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

SIZES = [(113, 401), (299, 299), (450, 37), (600, 800)]  # height and width shrink, stay and grow


@pytest.fixture(scope="module")
def drawn():
    """Return random weights that keep the size of activations from layer to layer."""
    rng = seeded_rng()
    arrays = {}
    for name, shape in inception.shapes().items():
        if name.endswith("weight"):
            arrays[name] = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
        else:
            low = 0.5 if name.endswith("var") else -0.1
            arrays[name] = rng.uniform(low, low + 0.2, shape).astype(np.float32)
    return arrays


@pytest.fixture(scope="module")
def images():
    """Return 8-bit images that are neither square nor smooth, with shapes in them."""
    rng = seeded_rng()
    coarse = rng.integers(0, 256, (3, 6, 9, 3), np.uint8)
    fine = np.stack([np.asarray(Image.fromarray(image).resize((431, 217), Image.NEAREST)) for image in coarse])
    return np.clip(fine + rng.normal(0, 20, fine.shape), 0, 255).astype(np.uint8)


def unit(images):
    return images.astype(np.float32) / np.float32(255)


def original_features(arrays, images, folder):
    """Return the features of torch-fidelity's network with the same weights."""
    with originals.imported("torch_fidelity.feature_extractor_inceptionv3") as (module,):
        import torch

        state = {name: torch.tensor(array) for name, array in arrays.items()}
        for name in arrays:
            if name.endswith("bn.bias"):
                state[name.replace("bias", "weight")] = torch.ones(arrays[name].shape)
        state |= {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
        torch.save(state, folder / "net.pth")
        network = module.FeatureExtractorInceptionV3("original", ["2048"], str(folder / "net.pth"))
        return network(torch.tensor(images.transpose(0, 3, 1, 2)))[0].numpy()


def test_features_equal_the_original_with_any_weights(drawn, images, tmp_path):
    np.savez(tmp_path / "net.npz", **drawn)
    expected = original_features(drawn, images, tmp_path)
    features = inception.load(tmp_path / "net.npz", batch=2)(unit(images))
    assert expected.std() > 1e-3
    np.testing.assert_allclose(features, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.assets
def test_features_equal_the_original_with_real_weights(assets, images, tmp_path):
    path = assets / "weights" / "fid_inception_v3" / "fid_inception_v3_nofc.npz"
    with np.load(path) as arrays:
        expected = original_features(dict(arrays), images, tmp_path)
    features = inception.load(path)(unit(images))
    np.testing.assert_allclose(features, expected, atol=1e-4 * np.abs(expected).max())
    assert np.linalg.norm(features - expected) < 1e-4 * np.linalg.norm(expected)


def test_groups_change_nothing(drawn, images):
    variables = inception.convert(drawn)
    whole = inception.InceptionFeatures(variables, "clean", 3)(unit(images))
    assert whole.shape == (3, inception.DIM)
    assert whole.dtype == np.float32
    parts = inception.InceptionFeatures(variables, "clean", 2)(unit(images))
    np.testing.assert_allclose(parts, whole, atol=1e-5 * np.abs(whole).max())
    assert inception.InceptionFeatures(variables, "clean", 2)(unit(images[:0])).shape == (0, inception.DIM)


def bicubic_weights(size):
    """Return the dense (299, size) matrix of an antialiased bicubic resize, Keys' kernel with a = -1/2."""
    scale = size / 299
    x = np.abs((np.arange(size) + 0.5)[None] - (np.arange(299) + 0.5)[:, None] * scale) / max(scale, 1)
    weights = np.where(x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("size", SIZES)
def test_clean_resize_equals_dense_products(size):
    image = seeded_rng().integers(0, 256, (*size, 3), np.uint8)
    rows, columns = bicubic_weights(size[0]), bicubic_weights(size[1])
    expected = np.clip(np.einsum("ay,yxc,bx->abc", rows, image, columns, optimize=True), 0, 255)
    np.testing.assert_allclose(inception.resize_images(unit(image[None]), "clean")[0], expected, atol=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_default_resize_equals_a_naive_loop(size):
    rng = seeded_rng()
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    resized = inception.resize_images(unit(image[None]), "torch_fidelity")[0]
    for row, column in rng.integers(0, 299, (200, 2)):
        y, x = np.float32(row) * np.float32(size[0] / 299), np.float32(column) * np.float32(size[1] / 299)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, size[0] - 1), min(left + 1, size[1] - 1)
        upper = image[top, left] * (1 - (x - left)) + image[top, right] * (x - left)
        lower = image[bottom, left] * (1 - (x - left)) + image[bottom, right] * (x - left)
        np.testing.assert_allclose(resized[row, column], upper * (1 - (y - top)) + lower * (y - top), atol=1e-3)


def test_colors_are_rounded_to_bytes():
    image = seeded_rng().random((1, 299, 299, 3), np.float32)
    np.testing.assert_array_equal(inception.resize_images(image, "torch_fidelity"), np.round(image * 255))


@pytest.mark.parametrize("fault", [1.5, -0.5, np.nan, np.inf])
def test_colors_outside_the_unit_range_are_refused(drawn, images, fault):
    features = inception.InceptionFeatures(inception.convert(drawn), "clean", 2)
    spoiled = unit(images)
    spoiled[1, 5, 7, 2] = fault
    with pytest.raises(ValueError, match=r"must be in \[0, 1\], got"):
        features(spoiled)


def test_other_weights_and_settings_are_refused(drawn, tmp_path):
    faulty = {name: array for name, array in drawn.items() if name != "Mixed_6c.branch_pool.bn.bias"}
    with pytest.raises(ValueError, match=r"missing: Mixed_6c\.branch_pool\.bn\.bias"):
        inception.convert(faulty)
    faulty = drawn | {"fc.weight": np.zeros((1008, 2048)), "Conv2d_1a_3x3.bn.bias": np.zeros(31)}
    with pytest.raises(ValueError, match=r"surplus: fc\.weight; misshapen: Conv2d_1a_3x3\.bn\.bias \(31,\)"):
        inception.convert(faulty)
    with pytest.raises(ValueError, match=r"resize='nearest'.*torch_fidelity, clean"):
        inception.load(tmp_path / "net.npz", resize="nearest")
    with pytest.raises(ValueError, match="batch=0"):
        inception.load(tmp_path / "net.npz", batch=0)
