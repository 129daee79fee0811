"""Rolling shutters: against an exact solution per point, and against an image put together line by line."""

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np
import pytest

from ff_jax.metrics.image import psnr
from ff_jax.render.camera import Camera, Shutter
from ff_jax.render.gaussians import Gaussians
from ff_jax.render.renderer import RenderSettings, ray_directions, render
from ff_jax.render.rigid import apply_delta
from ff_jax.render.rolling_shutter import seen_by_line

W, H = 64, 48
SETTINGS = RenderSettings(capacity=1 << 14, tile=8, implementation="xla")
K = jnp.array([[60.0, 0, 33], [0, 58, 23], [0, 0, 1]])
READOUT, SPEED, YAW_RATE = 0.02, 20.0, 0.35  # seconds, m/s, rad/s: a car in a bend


def camera_of(rng, columns=False):
    """Return a camera that drives along its z axis and turns, and shakes a little."""
    motion = READOUT * np.array([0, -YAW_RATE, 0, 0, 0, -SPEED]) + rng.normal(0, 1e-3, 6)
    pose = jaxlie.SE3.exp(jnp.asarray(rng.normal(0, 0.2, 6), jnp.float32)).as_matrix()
    return Camera(K, pose, W, H, Shutter(jnp.asarray(motion, jnp.float32), columns))


def at_line(camera, line):
    """Return the camera, standing still, of one line."""
    size = camera.width if camera.shutter.columns else camera.height
    share = (line + 0.5) / size - 0.5
    return camera.replace(
        camera_from_world=apply_delta(share * camera.shutter.motion, camera.camera_from_world), shutter=None
    )


def in_front(rng, camera, count, nearest=4.0):
    """Return points that the camera sees, metres."""
    z = rng.uniform(nearest, 30, count)
    xy = rng.uniform([-0.6, -0.45], [0.6, 0.45], (count, 2)) * z[:, None]
    inside = jnp.asarray(np.concatenate([xy, z[:, None]], 1), jnp.float32)
    return (inside - camera.camera_from_world[:3, 3]) @ camera.camera_from_world[:3, :3]


def pixels(points, camera):
    inside = points @ camera.camera_from_world[:3, :3].T + camera.camera_from_world[:3, 3]
    return (inside @ camera.K.T)[:, :2] / inside[:, 2:]


@pytest.mark.parametrize("columns", [False, True])
def test_points_land_where_the_line_that_reads_them_sees_them(columns):
    rng = np.random.default_rng()
    camera = camera_of(rng, columns)
    points = in_front(rng, camera, 60)
    axis, size = (0, W) if columns else (1, H)
    found, still = np.asarray(pixels(seen_by_line(points, camera), camera)), np.asarray(pixels(points, camera))
    # Search, for every point, for the line that sees it on itself.
    lines = jnp.linspace(0, size, 2001)
    places = jax.vmap(lambda line: pixels(points, at_line(camera, line - 0.5)))(lines)
    own = np.argmin(np.abs(np.asarray(places[..., axis] - lines[:, None])), 0)
    truth = np.asarray(places)[own, np.arange(60)]
    sure = (truth[:, axis] > 1) & (truth[:, axis] < size - 1)
    assert sure.sum() > 30
    assert np.abs(found - truth)[sure].max() < 0.05 and np.abs(still - truth)[sure].max() > 0.3


def gaussians_at(rng, xyz):
    count = len(xyz)
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    log_scales = jnp.log(0.25) + 0.3 * normal(count, 3)
    return Gaussians(xyz, normal(count, 4), log_scales, 1 + normal(count), normal(count, 1, 3))


def test_an_image_is_what_its_lines_see():
    """At 20 m/s, 0.35 rad/s and a read-out of 20 ms."""
    rng = np.random.default_rng()
    camera = camera_of(rng)
    gaussians = gaussians_at(rng, in_front(rng, camera, 150))
    alive = jnp.ones(150, bool)
    shown = jax.jit(lambda camera: render(gaussians, alive, camera, SETTINGS).rgb)
    each = [shown(at_line(camera, jnp.float32(line)))[line] for line in range(H)]
    truth, rolled, still = jnp.stack(each), shown(camera), shown(camera.replace(shutter=None))
    assert float(psnr(rolled, truth)) > float(psnr(still, truth)) + 8
    assert float(psnr(rolled, truth)) > 33


def test_the_sky_is_seen_by_line_too():
    camera = camera_of(np.random.default_rng())
    rolled = ray_directions(camera)
    for line in (0, 20, H - 1):
        np.testing.assert_allclose(rolled[line], ray_directions(at_line(camera, line))[line], atol=1e-6)


def test_no_motion_changes_nothing_and_gradients_reach_points_pose_and_motion():
    rng = np.random.default_rng()
    camera = camera_of(rng)
    points = in_front(rng, camera, 20)
    resting = camera.replace(shutter=Shutter(jnp.zeros(6)))
    np.testing.assert_allclose(seen_by_line(points, resting), points, atol=2e-5)

    def loss(points, pose, motion):
        moving = camera.replace(camera_from_world=pose, shutter=Shutter(motion))
        return jnp.mean(jnp.sin(pixels(seen_by_line(points, moving), moving) / 10))

    arguments = points, camera.camera_from_world, camera.shutter.motion
    slopes = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(*arguments)
    value = jax.jit(loss)
    for i, (argument, slope) in enumerate(zip(arguments, slopes, strict=True)):
        direction = (
            jnp.asarray(rng.normal(size=argument.shape), jnp.float32).at[..., 3:, :].set(0)
            if i == 1
            else (jnp.asarray(rng.normal(size=argument.shape), jnp.float32))
        )
        step = 1e-2 if i == 0 else 1e-3
        near = [
            value(*(a + sign * step * direction if k == i else a for k, a in enumerate(arguments))) for sign in (1, -1)
        ]
        expected = float(near[0] - near[1]) / (2 * step)
        # The line is held constant: what that leaves out is the share of a line that a point moves by.
        np.testing.assert_allclose(float(jnp.vdot(slope, direction)), expected, rtol=0.15, atol=0.02)
