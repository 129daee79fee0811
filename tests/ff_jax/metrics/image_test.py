"""PSNR and SSIM against scikit-image and naive masked sums."""

import jax
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from ff_jax.metrics import image
from kernels import ssim as ssim_map
from tests.random_inputs import seeded_rng


@pytest.fixture
def pair():
    rng = seeded_rng()
    a = rng.random((24, 19, 3), np.float32)
    return a, np.clip(a + 0.1 * rng.normal(size=a.shape), 0, 1).astype(np.float32)


def test_psnr_equals_scikit_image(pair):
    np.testing.assert_allclose(image.psnr(*pair), peak_signal_noise_ratio(*pair, data_range=1), rtol=1e-4)


def test_masked_metrics_equal_a_naive_sum_over_the_region(pair):
    a, b = pair
    mask = seeded_rng().random(a.shape[:2]) < 0.3
    errors = [((a[y, x] - b[y, x]) ** 2).mean() for y, x in zip(*np.nonzero(mask), strict=True)]
    np.testing.assert_allclose(image.psnr(a, b, mask), -10 * np.log10(np.mean(errors)), rtol=1e-4)
    for window in ("gaussian11", "uniform7"):
        expected = np.asarray(ssim_map(*jax.numpy.asarray(pair), window=window))[mask].mean()
        np.testing.assert_allclose(image.ssim(a, b, mask, window=window), expected, rtol=1e-4)


def test_pixels_outside_the_mask_do_not_matter(pair):
    a, b = pair
    mask = np.zeros(a.shape[:2], bool)
    mask[5:15] = True
    spoiled = a.copy()
    spoiled[:5] = np.nan
    np.testing.assert_allclose(image.psnr(spoiled, b, mask), image.psnr(a, b, mask), rtol=1e-6)
    np.testing.assert_allclose(image.masked_mean(spoiled[..., 0], mask), a[mask][:, 0].mean(), rtol=1e-5)


def test_full_mask_changes_nothing_and_limits_hold(pair):
    a, b = pair
    full = np.ones(a.shape[:2], bool)
    np.testing.assert_allclose(image.psnr(a, b, full), image.psnr(a, b), rtol=1e-6)
    np.testing.assert_allclose(image.ssim(a, b, full), image.ssim(a, b), rtol=1e-5)
    assert np.isposinf(image.psnr(a, a))
    np.testing.assert_allclose(image.ssim(a, a), 1.0, atol=1e-4)
    assert np.isnan(image.psnr(a, b, ~full))


def test_gradient_of_the_masked_error(pair):
    a, b = pair
    mask = seeded_rng().random(a.shape[:2]) < 0.5
    expected = np.where(mask[..., None], 2 * (a - b), 0) / (3 * mask.sum())
    np.testing.assert_allclose(jax.grad(image.mse)(a, b, mask), expected, atol=1e-6)


def test_bytes_are_scaled_and_other_integers_refused():
    a, b = seeded_rng().integers(0, 256, (2, 24, 19, 3), dtype=np.uint8)
    colors = a / np.float32(255), b / np.float32(255)
    for metric in (image.psnr, image.ssim, image.mse):
        np.testing.assert_allclose(metric(a, b), metric(*colors), rtol=1e-5)
        for kind in (np.uint16, np.int32, bool):
            with pytest.raises(ValueError, match=np.dtype(kind).name):
                metric(a.astype(kind), b.astype(kind))
    with pytest.raises(ValueError, match="uint8"):
        ssim_map(jax.numpy.asarray(a), jax.numpy.asarray(b))
