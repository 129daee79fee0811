import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ff_jax.data.similarity import fit_similarity, is_similarity, residuals, robust_similarity, split_similarity
from tests.random_inputs import seeded_rng


@pytest.fixture
def matrix():
    rng = seeded_rng()
    matrix = np.eye(4)
    matrix[:3, :3] = rng.uniform(0.1, 10) * Rotation.random(random_state=rng).as_matrix()
    matrix[:3, 3] = rng.normal(0, 100, 3)
    return matrix


def test_the_similarity_of_points_is_found(matrix):
    rng = seeded_rng()
    for source in (rng.normal(size=(9, 3)), rng.normal(size=(9, 3)) * (1, 1, 0)):  # also of points on a plane
        target = source @ matrix[:3, :3].T + matrix[:3, 3]
        np.testing.assert_allclose(fit_similarity(source, target), matrix, atol=1e-9)
        assert residuals(matrix, source, target).max() < 1e-9


def test_a_third_of_the_points_may_be_wrong(matrix):
    rng = seeded_rng()
    source = rng.normal(size=(60, 3)) * (40, 3, 1)
    target = source @ matrix[:3, :3].T + matrix[:3, 3] + rng.normal(0, 0.01, (60, 3))
    wrong = rng.choice(60, 20, replace=False)
    target[wrong] += rng.normal(0, 300, (20, 3))
    found, inside = robust_similarity(source, target, rng)
    scale, rotation, _ = split_similarity(found)
    assert scale == pytest.approx(split_similarity(matrix)[0], rel=1e-2) and not inside[wrong].any()
    assert inside.sum() >= 36 and np.trace(rotation.T @ split_similarity(matrix)[1]) > 2.999


def test_what_is_a_similarity(matrix):
    mirrored, sheared, moved = (matrix.copy() for _ in range(3))
    mirrored[:3, 0] *= -1
    sheared[0, :3] *= 1.1
    moved[3, 0] = 1
    assert is_similarity(matrix) and is_similarity(np.eye(4))
    assert not any(map(is_similarity, (mirrored, sheared, moved, matrix[:3], np.zeros((4, 4)), matrix * np.nan)))
