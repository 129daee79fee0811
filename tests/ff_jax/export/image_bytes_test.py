"""Pictures as bytes."""

import io

import numpy as np
from PIL import Image

from ff_jax.export.image_bytes import gray16_png, jpeg, png
from tests.random_inputs import seeded_rng


def test_a_jpeg_shows_the_picture_and_shrinks_with_its_quality():
    rng = seeded_rng()
    smooth = np.kron(rng.random((4, 6, 3)), np.ones((16, 16, 1)))
    shown = np.asarray(Image.open(io.BytesIO(jpeg(smooth, 95))), float) / 255
    assert shown.shape == smooth.shape and np.abs(shown - smooth).mean() < 0.05
    noise = rng.random((64, 96, 3))
    assert len(jpeg(noise, 30)) < len(jpeg(noise)) < noise.size


def test_pngs_keep_every_bit():
    rng = seeded_rng()
    picture, levels = rng.integers(0, 256, (5, 7, 3), np.uint8), rng.integers(0, 1 << 16, (5, 7), np.uint16)
    np.testing.assert_array_equal(Image.open(io.BytesIO(png(picture))), picture)
    np.testing.assert_array_equal(Image.open(io.BytesIO(gray16_png(levels))), levels)
