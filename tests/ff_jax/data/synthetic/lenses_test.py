"""The street through lenses, against its pinhole images."""

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.synthetic import render_street, rig_camera
from ff_jax.render.camera import Shutter, pixel_rays, project_points
from ff_jax.render.lenses import fisheye_lens, opencv_lens
from ff_jax.render.renderer import pixel_centers
from tests.ff_jax.data.synthetic.conftest import HEIGHT, WIDTH

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("lens", [opencv_lens([-0.2, 0.03], [0.002, 0.001]), fisheye_lens([0.02, -0.01], 1.5)])
def test_rays_through_a_lens_hit_what_a_pinhole_shows(street, render, lens):
    plain = rig_camera(street, 3, "front", WIDTH, HEIGHT)
    camera = plain.replace(lens=lens)
    exposure = jnp.array([1.0, 0.0])
    view, seen = (render(street, c, street.times[3], exposure) for c in (camera, plain))
    rays = np.asarray(pixel_rays(camera, pixel_centers(camera))[0], float)
    depth = np.asarray(view.depth, float)
    points = rays * (depth if lens.has_angular_depth else depth / rays[..., 2])[..., None]
    pixels = np.asarray(project_points(plain, jnp.asarray(points, jnp.float32))[0])
    column, row = np.moveaxis(np.floor(pixels).astype(int), -1, 0)
    inside = (rays[..., 2] > 0.3) & (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT)
    inside &= (~np.asarray(view.sky)) & (depth < 100)
    assert inside.mean() > 0.2
    row, column = row[inside], column[inside]
    there, sky = np.asarray(seen.depth)[row, column], np.asarray(seen.sky)[row, column]
    error = np.abs(there / points[..., 2][inside] - 1)[~sky]
    # Pixel centers differ by half a pixel: exact depth would need the same rays.
    assert np.median(error) < 0.01 and np.mean(error > 0.1) < 0.1 and sky.mean() < 0.05
    color = np.abs(np.asarray(seen.rgb)[row, column] - np.asarray(view.rgb)[inside])
    assert np.median(color) < 0.03


def test_the_street_refuses_rolling_shutters(street):
    camera = rig_camera(street, 0, "front", WIDTH, HEIGHT).replace(shutter=Shutter(jnp.zeros(6)))
    with pytest.raises(ValueError, match="rendering the street supports global shutters only"):
        render_street(street, camera, 0.0)
