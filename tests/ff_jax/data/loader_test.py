from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ff_jax.data import lazy_arrays, loader, scene_data
from ff_jax.data.lazy_arrays import Source
from ff_jax.data.lenses import undistort
from tests.ff_jax.data import tiny
from tests.random_inputs import seeded_rng


@pytest.fixture
def scene(tmp_path):
    return tiny.make_scene(tmp_path, seeded_rng())


@pytest.fixture
def decoded_files(monkeypatch):
    """Return the list of files that have been decoded."""
    files, decode = [], lazy_arrays._decode
    monkeypatch.setattr(lazy_arrays, "_decode", lambda path: files.append(path.name) or decode(path))
    return files


def test_nothing_is_decoded_before_it_is_asked_for(scene, decoded_files):
    small = loader.scaled(scene_data.hold_out(scene_data.select(scene, cameras=("a",)), 2), 0.5)
    assert decoded_files == []
    loader.load_image(small.frames[1])
    assert decoded_files == ["a1.png"]


def test_image_and_mask_equal_the_file(scene):
    frame = scene.frames[0]
    pixels = np.asarray(Image.open(frame.image.path))
    np.testing.assert_array_equal(loader.load_image(frame), pixels.astype(np.float32) / 255)
    mask = np.asarray(Image.open(frame.masks["sky"].path))
    np.testing.assert_array_equal(loader.load_mask(frame, "sky"), mask.astype(np.float32) / 255)
    assert loader.load_mask(frame, "valid").min() == 1 and loader.load_mask(frame, "dynamic").max() == 0
    with pytest.raises(ValueError, match="'ego'"):
        loader.load_mask(frame, "ego")


def test_area_scaling_is_the_mean_of_what_a_pixel_covers():
    rng = seeded_rng()
    image = rng.random((12, 18, 3), np.float32)
    mean = image.reshape(4, 3, 9, 2, 3).mean((1, 3))
    np.testing.assert_allclose(loader.resize_area(image, 9, 4), mean, atol=1e-6)
    uneven = loader.resize_area(image, 7, 5)
    fine = image.repeat(5, 0).repeat(7, 1).reshape(5, 12, 7, 18, 3).mean((1, 3))
    np.testing.assert_allclose(uneven, fine, atol=1e-5)


def test_scaled_cameras_see_the_same(scene):
    small = loader.scaled(scene, width=7).frames[0]
    big = scene.frames[0]
    assert (small.width, small.height) == (7, 5) and loader.load_image(small).shape == (5, 7, 3)
    assert loader.load_mask(small, "sky").shape == (5, 7)
    point = np.array([0.3, -0.2, 2.0])
    relative = [(f.K @ point)[:2] / point[2] / [f.width, f.height] for f in (big, small)]
    np.testing.assert_allclose(*relative, atol=1e-12)
    assert loader.camera_of(small).width == 7


@pytest.mark.parametrize("size", [{}, {"factor": 0.5, "width": 3}, {"factor": 1.5}, {"factor": 0.0}, {"width": 99}])
def test_scaling_refuses_what_makes_no_sense(scene, size):
    with pytest.raises(ValueError, match=r"factor=|cannot scale .*24x16"):
        loader.scaled(scene, **size)


def test_distorted_frame_is_undistorted_on_load_and_before_scaling(scene):
    frame = replace(scene.frames[0], distortion=np.array([0.3, 0, 0, 0, 0]))
    image, inside = undistort(frame.image.load(), frame.K, frame.distortion)
    np.testing.assert_array_equal(loader.load_image(frame), image)
    np.testing.assert_array_equal(loader.load_mask(frame, "valid"), inside)
    assert not inside.all()
    small = loader.scaled(replace(scene, frames=(frame,)), 0.5).frames[0]
    assert small.distortion is None
    np.testing.assert_allclose(loader.load_image(small), loader.resize_area(image, 12, 8), atol=1e-6)
    valid = loader.resize_area(inside.astype(np.float32), 12, 8)
    np.testing.assert_allclose(loader.load_mask(small, "valid"), valid, atol=1e-6)


def test_wrong_size_names_file_camera_and_both_sizes(scene):
    frame = replace(scene.frames[2], width=30)
    with pytest.raises(ValueError, match=r"a1\.png: camera 'a', time index 1 .*\(16, 30, 3\).*\(16, 24, 3\)"):
        loader.load_image(frame)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5, 255.0])
@pytest.mark.parametrize("kind", ["image", "sky"])
def test_a_bad_pixel_names_its_frame(scene, kind, value):
    """Training on it would end at a later step, in another frame."""
    frame = scene.frames[3]
    pixels = np.full((16, 24, 3) if kind == "image" else (16, 24), 0.5, np.float32)
    pixels[2, 7] = value
    source = Source("camera 5", lambda: pixels)
    bad = replace(frame, image=source) if kind == "image" else replace(frame, masks={"sky": source})
    with pytest.raises(ValueError, match=r"camera 5: camera 'b', time index 1 has float32 values"):
        loader.load_image(bad) if kind == "image" else loader.load_mask(bad, kind)
