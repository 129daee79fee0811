"""Codebooks hold every value to half of their largest gap; palettes are near to what they stand for."""

import numpy as np

from ff_jax.export.formats.codebooks import codebook, nearest, palette
from tests.random_inputs import seeded_rng


def test_codebooks_bound_the_error_also_of_rare_values():
    rng = seeded_rng()
    values = np.concatenate([rng.normal(size=5000), [-40.0, 70.0]])
    book = codebook(values)
    numbers = nearest(values, book)
    np.testing.assert_array_equal(numbers, np.abs(values[:, None] - book).argmin(1))
    errors = np.abs(values - book[numbers])
    assert (np.diff(book) >= 0).all() and errors.max() <= np.diff(book).max() / 2 + 1e-12
    # Better than 256 equal steps over the whole range, whose error has this root mean square.
    assert np.sqrt(np.mean(errors**2)) < 0.3 * 110 / 255 / np.sqrt(12)


def test_few_values_are_exact():
    values = seeded_rng().choice([-2.0, 0.5, 0.75, 3.0], 100)
    book = codebook(values)
    np.testing.assert_allclose(book[nearest(values, book)], values, atol=1e-6)
    np.testing.assert_array_equal(codebook(np.zeros((0, 3))), np.zeros(256))


def test_palettes_are_near_to_the_vectors():
    rng = seeded_rng()
    vectors = rng.normal(size=(1500, 9)).astype(np.float32)
    entries, labels = palette(vectors, 256)
    assert len(entries) <= 256 and labels.max() < len(entries)
    rms = np.sqrt(np.mean((entries[labels] - vectors) ** 2))
    one_level = vectors[rng.permutation(1500)[:256]]  # vectors at random stand for the nearest
    nearest_one = np.linalg.norm(vectors[:, None] - one_level[None], axis=-1).min(1)
    assert rms < np.sqrt(np.mean(nearest_one**2) / 9)
    same, numbers = palette(vectors[:100], 256)
    np.testing.assert_array_equal(same[numbers], vectors[:100])
