"""Renderers that read the images of other programs."""

import numpy as np
import pytest

from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.evaluation.renderers import first_width, folder_renderer
from ff_jax.evaluation.shifted_views import targets
from ff_jax.export.image_bytes import save_png
from tests.random_inputs import seeded_rng

WIDTH, HEIGHT, COUNT = 24, 16, 3


@pytest.fixture(scope="module")
def log():
    return street_log(3, StreetConfig(num_frames=COUNT), WIDTH, HEIGHT, ("front", "front_left"), lidar=None)


def write(folder, cameras, count=COUNT, size=(HEIGHT, WIDTH)):
    rng = seeded_rng()
    images = {}
    for camera in cameras:
        for i in range(count):
            images[camera, i] = rng.integers(0, 256, (*size, 3), np.uint8)
            save_png(folder / camera / f"{i + 8}.png", images[camera, i])
    return images


def test_every_view_gets_its_own_image(log, tmp_path):
    images = {shift: write(tmp_path / name, ("front", "front_left")) for shift, name in ((0.0, "0"), (3.0, "+3.00m"))}
    (tmp_path / "notes").mkdir()
    views = targets(log, (0.0, 3.0), 10**9)
    render = folder_renderer(tmp_path, views)
    assert len(views) == 4 * COUNT and first_width(tmp_path) == WIDTH
    for target in views:
        expected = images[target.shift][target.frame.camera, target.frame.time_index] / 255
        np.testing.assert_allclose(render(target).rgb, expected, atol=1e-6)
        assert render(target).eig is None


def test_missing_folders_and_images_are_errors(log, tmp_path):
    views = targets(log, (3.0,), 10**9)
    with pytest.raises(ValueError, match="is not a folder"):
        folder_renderer(tmp_path / "nowhere", views)
    write(tmp_path / "2m", ("front", "front_left"))
    with pytest.raises(ValueError, match=r"no folder for a shift of 3 \(it has 2\)"):
        folder_renderer(tmp_path, views)
    write(tmp_path / "3m", ("front", "front_left"), COUNT - 1)
    with pytest.raises(ValueError, match="contains 2 images for 3 views"):
        folder_renderer(tmp_path, views)
    with pytest.raises(ValueError, match="no images in folders named by a shift"):
        first_width(tmp_path / "3m")


def test_an_image_of_another_size_is_refused(log, tmp_path):
    write(tmp_path / "3m", ("front", "front_left"), size=(HEIGHT, 2 * WIDTH))
    views = targets(log, (3.0,), 10**9)
    with pytest.raises(ValueError, match="48 x 16 pixels, but the log's images are 24 x 16"):
        folder_renderer(tmp_path, views)(views[0])
