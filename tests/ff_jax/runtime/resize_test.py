"""Bilinear resizing against JAX's and against a loop over pixels."""

import jax
import numpy as np
import pytest

from ff_jax.runtime.resize import resize_bilinear
from tests.random_inputs import seeded_rng


def naive(image, height, width):
    """Sample every new pixel center by itself; the edge is repeated outwards."""
    old_height, old_width = image.shape[:2]
    padded = np.pad(image, ((1, 1), (1, 1)) + ((0, 0),) * (image.ndim - 2), mode="edge").astype(np.float64)
    result = np.zeros((height, width, *image.shape[2:]))
    for i in range(height):
        for j in range(width):
            y, x = (i + 0.5) * old_height / height + 0.5, (j + 0.5) * old_width / width + 0.5
            r, c = int(y), int(x)
            fy, fx = y - r, x - c
            top = (1 - fx) * padded[r, c] + fx * padded[r, c + 1]
            bottom = (1 - fx) * padded[r + 1, c] + fx * padded[r + 1, c + 1]
            result[i, j] = (1 - fy) * top + fy * bottom
    return result


@pytest.mark.parametrize("size", [(5, 9), (23, 31), (40, 8), (64, 96), (1, 1), (13, 17)])
def test_equals_jax_and_a_loop_over_pixels_up_and_down_to_the_border(size):
    image = seeded_rng().random((13, 17, 3)).astype(np.float32)
    result = resize_bilinear(image, *size)
    assert result.dtype == np.float32 and result.shape == (*size, 3)
    np.testing.assert_allclose(result, naive(image, *size), atol=1e-6)
    expected = jax.image.resize(image, (*size, 3), "linear", antialias=False)
    np.testing.assert_allclose(result, expected, atol=2e-5)


def test_maps_without_channels_and_single_rows():
    rng = seeded_rng()
    image = rng.random((6, 8))
    np.testing.assert_array_equal(resize_bilinear(image, 6, 8), image.astype(np.float32))
    np.testing.assert_allclose(resize_bilinear(image, 9, 5), naive(image, 9, 5), atol=1e-6)
    row = rng.random((1, 4, 2)).astype(np.float32)
    np.testing.assert_allclose(resize_bilinear(row, 3, 4), np.repeat(row, 3, 0), atol=1e-6)


def test_empty_sizes_are_refused():
    with pytest.raises(ValueError, match=r"cannot resize \(4, 4\) to \(0, 3\)"):
        resize_bilinear(np.zeros((4, 4, 3)), 0, 3)
