"""Folders of images that other programs rendered."""

import numpy as np
import pytest

from ff_jax.data.synthetic import WorldConfig
from ff_jax.data.synthetic.driving_log import world_scene
from ff_jax.evaluation.renderers import first_width, folder_renderer
from ff_jax.evaluation.shifted_views import targets
from ff_jax.export.image_bytes import save_png

WIDTH, HEIGHT, COUNT = 24, 16, 3


@pytest.fixture(scope="module")
def log():
    return world_scene(3, WorldConfig(num_frames=COUNT), WIDTH, HEIGHT, ("front", "front_left"), lidar=False)


def write(folder, cameras, count=COUNT, size=(HEIGHT, WIDTH)):
    rng = np.random.default_rng()
    made = {}
    for camera in cameras:
        for i in range(count):
            made[camera, i] = rng.integers(0, 256, (*size, 3), np.uint8)
            save_png(folder / camera / f"{i:03d}.png", made[camera, i])
    return made


def test_every_view_gets_its_own_image(log, tmp_path):
    made = {shift: write(tmp_path / name, ("front", "front_left")) for shift, name in ((0.0, "0"), (3.0, "+3.00m"))}
    (tmp_path / "notes").mkdir()
    chosen = targets(log, (0.0, 3.0), 10**9)
    render = folder_renderer(tmp_path, chosen)
    assert len(chosen) == 4 * COUNT and first_width(tmp_path) == WIDTH
    for target in chosen:
        expected = made[target.shift][target.frame.camera, target.frame.time_index] / 255
        np.testing.assert_allclose(render(target).rgb, expected, atol=1e-6)
        assert render(target).eig is None


def test_what_is_missing_is_named(log, tmp_path):
    chosen = targets(log, (3.0,), 10**9)
    with pytest.raises(ValueError, match="is not a folder"):
        folder_renderer(tmp_path / "nowhere", chosen)
    write(tmp_path / "2m", ("front", "front_left"))
    with pytest.raises(ValueError, match=r"no folder for a shift of 3 m \(there: 2\)"):
        folder_renderer(tmp_path, chosen)
    write(tmp_path / "3m", ("front", "front_left"), COUNT - 1)
    with pytest.raises(ValueError, match="holds 2 images, but there are 3 views"):
        folder_renderer(tmp_path, chosen)
    with pytest.raises(ValueError, match="no folder named by a shift"):
        first_width(tmp_path / "3m")


def test_an_image_of_another_size_is_refused(log, tmp_path):
    write(tmp_path / "3m", ("front", "front_left"), size=(HEIGHT, 2 * WIDTH))
    chosen = targets(log, (3.0,), 10**9)
    with pytest.raises(ValueError, match="48 x 16 pixels, but the log's images are 24 x 16"):
        folder_renderer(tmp_path, chosen)(chosen[0])
