"""Points from images: on a wall where the wall is, and a sentence where the package is missing."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.prepare.structure_from_motion import with_sparse_points
from ff_jax.data.scene_data import Frame, SceneData
from tests.random_inputs import seeded_rng

WIDTH, HEIGHT, DEPTH, COUNT = 160, 120, 10.0, 4
K = np.array([[150.0, 0, WIDTH / 2], [0, 150, HEIGHT / 2], [0, 0, 1]])


def log_of_a_wall(rng) -> SceneData:
    """Cameras that move 0.5 m at a time, along a painted wall whose left third follows at half their speed."""
    paint = ndimage.gaussian_filter(rng.random((400, 400)), 2)
    paint = (paint - paint.min()) / np.ptp(paint)
    v, u = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    x, y = (u - K[0, 2]) / K[0, 0] * DEPTH, (v - K[1, 2]) / K[1, 1] * DEPTH

    def frame(i):
        shifted = np.where(u < WIDTH / 3, 0.25 * i, 0.5 * i)
        gray = ndimage.map_coordinates(paint, [200 + y * 18, 180 + (x + shifted) * 18], order=1, mode="mirror")
        image = np.repeat(gray[..., None], 3, 2).astype(np.float32)
        pose = np.eye(4)
        pose[:3, 3] = 0.5 * i, 2.0, 1.0
        masks = {"dynamic": Source("moving", lambda: (u < WIDTH / 3).astype(np.float32))}
        return Frame("front", i, 0.1 * i, K, pose, WIDTH, HEIGHT, Source(f"image {i}", lambda: image), masks=masks)

    poses = np.tile(np.eye(4), (COUNT, 1, 1))
    return SceneData("wall", "made in a test", "none", 0.1 * np.arange(COUNT), poses, tuple(map(frame, range(COUNT))))


def test_points_lie_where_the_images_show_them():
    pytest.importorskip("pycolmap")
    log = log_of_a_wall(seeded_rng())
    result = with_sparse_points(log).points
    assert len(result.xyz) >= 20 and result.rgb.shape == result.xyz.shape
    assert 0 <= result.rgb.min() < result.rgb.max() <= 1
    depth = lambda points: points.xyz[:, 2] - 1.0  # of the cameras' place
    assert np.median(np.abs(depth(result) - DEPTH)) < 0.2 and (depth(result) > 1.5 * DEPTH).mean() < 0.02
    unmasked = replace(log, frames=tuple(replace(frame, masks={}) for frame in log.frames))
    assert (depth(with_sparse_points(unmasked).points) > 1.5 * DEPTH).mean() > 0.05


def test_without_the_package_it_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(ImportError, match=r"need the package pycolmap: install it \(pip install pycolmap\)"):
        with_sparse_points(log_of_a_wall(seeded_rng()))


def test_images_that_show_nothing_get_a_sentence():
    pytest.importorskip("pycolmap")
    log = log_of_a_wall(seeded_rng())
    blank = Source("blank", lambda: np.full((HEIGHT, WIDTH, 3), 0.5, np.float32))
    log = replace(log, frames=tuple(replace(frame, image=blank) for frame in log.frames))
    with pytest.raises(ValueError, match="'wall': no point could be triangulated from 4 training images"):
        with_sparse_points(log)
