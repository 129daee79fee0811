import warnings

import numpy as np
import pytest

from ff_jax.data import lenses
from tests.random_inputs import seeded_rng

WIDTH, HEIGHT = 96, 64
SIZES = {"f": 70.0, "fx": 70.0, "fy": 72.0, "cx": 47.0, "cy": 33.0}


def parameters(model, rng, size=0.02):
    return [SIZES.get(name) or float(rng.uniform(-size, size)) for name in lenses.MODELS[model]]


@pytest.mark.parametrize("model", lenses.MODELS)
def test_every_model_projects_as_colmap_does(model):
    pycolmap = pytest.importorskip("pycolmap")
    rng = seeded_rng()
    values = parameters(model, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        camera = pycolmap.Camera(model=model, width=WIDTH, height=HEIGHT, params=values)
    rays = np.append(rng.uniform(-0.9, 0.9, (50, 2)), [[0, 0]], 0)
    expected = camera.img_from_cam(np.pad(rays, ((0, 0), (0, 1)), constant_values=1))
    K, distortion = lenses.lens(model, values)
    actual = rays if distortion is None else lenses.distort(rays, distortion)
    np.testing.assert_allclose(actual @ K[:2, :2] + K[:2, 2], expected, atol=1e-9)


@pytest.mark.parametrize("model", ["OPENCV", "FULL_OPENCV", "THIN_PRISM_FISHEYE"])
def test_undistortion_inverts_the_lens(model):
    """Draw a smooth pattern distorted by the lens: undistortion must recover the pinhole pattern."""

    def pattern(x, y):
        return 0.5 + 0.25 * np.sin(6 * x + 1) * np.cos(5 * y) + 0.1 * x

    K, distortion = lenses.lens(model, parameters(model, seeded_rng(), 0.05))
    v, u = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    x, y = (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]
    # The inverse of the lens by fixed-point iteration.
    rays = np.stack([x, y], -1)
    for _ in range(60):
        rays += np.stack([x, y], -1) - lenses.distort(rays, distortion)
    distorted = pattern(rays[..., 0], rays[..., 1]).astype(np.float32)[..., None]
    image, inside = lenses.undistort(distorted, K, distortion)
    error = np.abs(image[..., 0] - pattern(x, y))[inside]
    assert inside.mean() > 0.7 and error.max() < 0.02 and np.median(error) < 1e-3


def test_pixels_beyond_the_fold_of_a_polynomial_are_not_filled():
    """x - 0.5 x^3 turns back at x = (2/3)^0.5, and shows the middle of the image a second time beyond it."""
    K = np.array([[30.0, 0, 48], [0, 30, 32], [0, 0, 1]])
    _, inside = lenses.undistort(np.zeros((64, 96, 1), np.float32), K, np.array([-0.5, 0, 0, 0, 0]))
    x = np.abs(np.arange(96) + 0.5 - 48) / 30
    np.testing.assert_array_equal(inside[32], np.hypot(x, 0.5 / 30) < (2 / 3) ** 0.5)


def test_the_field_is_computed_once_per_camera(monkeypatch):
    calls = []
    original = lenses.distort
    monkeypatch.setattr(lenses, "distort", lambda *args: calls.append(1) or original(*args))
    lenses._field.cache_clear()
    for _ in range(3):
        lenses.undistort(np.zeros((8, 8, 1), np.float32), np.diag([9.0, 9, 1]), np.array([0.1, 0, 0, 0, 0]))
    assert 0 < len(calls) <= 2


def test_models_that_cannot_be_read_are_named():
    with pytest.raises(ValueError, match=r"camera model FOV is none of SIMPLE_PINHOLE.*colmap image_undistorter"):
        lenses.lens("FOV", [1.0] * 5)
    with pytest.raises(ValueError, match=r"OPENCV takes 8 parameters .*, found 4"):
        lenses.lens("OPENCV", [1.0] * 4)
    assert lenses.lens("OPENCV", [1.0] * 4 + [0.0] * 4).distortion is None
