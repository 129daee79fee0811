from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.loader import camera_of, load_image, load_mask
from ff_jax.data.padding import largest_size, padded
from ff_jax.data.scene_data import Readout
from ff_jax.render.rolling_shutter import means_at_readout
from tests.ff_jax.data import tiny
from tests.random_inputs import seeded_rng


@pytest.fixture
def frame(tmp_path):
    return tiny.make_scene(tmp_path, distortion=np.array([0.1, 0, 0, 0, 0])).frames[0]


def test_the_new_pixels_repeat_the_edge_and_are_not_valid(frame):
    wide = padded(frame, (30, 20))
    image, original = load_image(wide), load_image(frame)
    np.testing.assert_array_equal(image[:16, :24], original)
    np.testing.assert_array_equal(image[16:, 24:], np.broadcast_to(original[-1, -1], (4, 6, 3)))
    valid = load_mask(wide, "valid")
    np.testing.assert_array_equal(valid[:16, :24], load_mask(frame, "valid"))  # undistorted before it is padded
    assert valid.shape == (20, 30) and not valid[16:].any() and not valid[:, 24:].any()
    np.testing.assert_array_equal(wide.K, frame.K)
    assert load_mask(wide, "sky").shape == (20, 30) and wide.distortion is None


def test_a_frame_of_the_size_stays_as_it_is(frame):
    assert padded(frame, (24, 16)) is frame
    assert largest_size([replace(frame, width=10), replace(frame, height=9)]) == (24, 16)


@pytest.mark.parametrize("columns", [False, True])
def test_a_rolling_shutter_sees_the_same_in_a_padded_image(frame, columns):
    rng = seeded_rng()
    frame = replace(frame, readout=Readout(rng.normal(0, [0.02] * 3 + [0.1] * 3), columns))
    points = rng.uniform([6, -3, -2], [20, 3, 2], (30, 3)).astype(np.float32)
    pixels = [project(camera_of(f), points) for f in (frame, padded(frame, (40, 30)))]
    inside = ((pixels[0] > 0) & (pixels[0] < (24, 16))).all(1)
    assert inside.sum() > 3
    np.testing.assert_allclose(pixels[0][inside], pixels[1][inside], atol=0.02)


def project(camera, points):
    moved = np.asarray(means_at_readout(jnp.asarray(points), camera))
    in_camera = moved @ np.asarray(camera.camera_from_world)[:3, :3].T + np.asarray(camera.camera_from_world)[:3, 3]
    pixels = in_camera @ np.asarray(camera.K).T
    return pixels[:, :2] / pixels[:, 2:]
