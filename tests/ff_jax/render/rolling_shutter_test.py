"""Rolling shutters against an exact solution per point, and against an image that is rendered line by line."""

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from ff_jax.metrics.image import psnr
from ff_jax.render.camera import Camera, Shutter, project_points
from ff_jax.render.gaussians import Gaussians, WorldGaussians
from ff_jax.render.lenses import fisheye_lens
from ff_jax.render.renderer import RenderInput, RenderSettings, ray_directions, render
from ff_jax.render.rigid import apply_delta
from ff_jax.render.rolling_shutter import means_at_readout, middle_and_motion, with_readout
from tests.random_inputs import seeded_rng
from tests.scenes import normal, quick

W, H = 64, 48
SETTINGS = RenderSettings(capacity=1 << 14, tile=8, implementation="xla")
K = jnp.array([[60.0, 0, 33], [0, 58, 23], [0, 0, 1]])
WIDE = fisheye_lens([0.02, -0.01], 1.5)
READOUT, SPEED, YAW_RATE = 0.02, 20.0, 0.35  # seconds, m/s, rad/s: a car in a bend


def moving_camera(rng, direction="top_to_bottom"):
    """Make a camera that drives along its z axis, turns, and shakes a little."""
    motion = READOUT * np.array([0, -YAW_RATE, 0, 0, 0, -SPEED]) + rng.normal(0, 1e-3, 6)
    pose = jaxlie.SE3.exp(jnp.asarray(rng.normal(0, 0.2, 6), jnp.float32)).as_matrix()
    return Camera(K, pose, W, H, Shutter(jnp.asarray(motion, jnp.float32), direction))


def at_line(camera, line):
    """Make the camera without a shutter in the pose of one line."""
    size = camera.width if camera.shutter.columns else camera.height
    position = (line + 0.5) / size - 0.5
    position = -position if camera.shutter.direction in ("bottom_to_top", "right_to_left") else position
    pose = apply_delta(position * camera.shutter.motion, camera.camera_from_world)
    return camera.replace(camera_from_world=pose, shutter=None)


def points_in_view(rng, camera, count, nearest=4.0):
    """Draw points in the field of view of the camera, meters."""
    z = rng.uniform(nearest, 30, count)
    xy = rng.uniform([-0.6, -0.45], [0.6, 0.45], (count, 2)) * z[:, None]
    in_camera = jnp.asarray(np.concatenate([xy, z[:, None]], 1), jnp.float32)
    return (in_camera - camera.camera_from_world[:3, 3]) @ camera.camera_from_world[:3, :3]


def pixels(points, camera):
    in_camera = points @ camera.camera_from_world[:3, :3].T + camera.camera_from_world[:3, 3]
    return project_points(camera, in_camera)[0]


DIRECTIONS = ("top_to_bottom", "left_to_right", "bottom_to_top", "right_to_left")


@pytest.mark.slow
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("lens", [None, WIDE])
def test_points_are_projected_by_the_line_that_they_fall_on(direction, lens):
    rng = seeded_rng()
    camera = moving_camera(rng, direction).replace(lens=lens)
    points = points_in_view(rng, camera, 60)
    axis, size = (0, W) if camera.shutter.columns else (1, H)
    rolling, middle = (np.asarray(pixels(x, camera)) for x in (means_at_readout(points, camera), points))
    # Search, for every point, for the line that projects it onto itself.
    lines = jnp.linspace(0, size, 2001)
    projections = jax.vmap(lambda line: pixels(points, at_line(camera, line - 0.5)))(lines)
    own = np.argmin(np.abs(np.asarray(projections[..., axis] - lines[:, None])), 0)
    truth = np.asarray(projections)[own, np.arange(60)]
    is_inside = (truth[:, axis] > 1) & (truth[:, axis] < size - 1)
    assert is_inside.sum() > 30
    assert np.abs(rolling - truth)[is_inside].max() < 0.05 and np.abs(middle - truth)[is_inside].max() > 0.3


def gaussians_at(rng, xyz):
    count = len(xyz)
    log_scales = jnp.log(0.25) + 0.3 * normal(rng, count, 3)
    return Gaussians(xyz, normal(rng, count, 4), log_scales, 1 + normal(rng, count), normal(rng, count, 1, 3))


@pytest.mark.slow
@pytest.mark.parametrize(("direction", "lens"), [("top_to_bottom", None), ("right_to_left", WIDE)])
def test_an_image_consists_of_the_images_of_its_lines(direction, lens):
    """At 20 m/s, 0.35 rad/s and a readout of 20 ms."""
    rng = seeded_rng()
    camera = moving_camera(rng, direction).replace(lens=lens)
    world = WorldGaussians(gaussians_at(rng, points_in_view(rng, camera, 150)), jnp.ones(150, bool))

    @quick
    def image_of(camera):
        return render(RenderInput(world, camera, SETTINGS)).rgb

    lines = [image_of(at_line(camera, jnp.float32(line))) for line in range(W if camera.shutter.columns else H)]
    truth = jnp.stack([image[:, i] if camera.shutter.columns else image[i] for i, image in enumerate(lines)])
    truth = truth.swapaxes(0, 1) if camera.shutter.columns else truth
    rolling, middle = image_of(camera), image_of(camera.replace(shutter=None))
    assert float(psnr(rolling, truth)) > float(psnr(middle, truth)) + 8
    assert float(psnr(rolling, truth)) > 33


def rigid(rng, std):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = Rotation.from_rotvec(rng.normal(0, std, 3)).as_matrix(), rng.normal(0, std, 3)
    return matrix


def test_the_first_and_the_last_line_have_the_given_poses():
    """Compared with matrix exponentials, in float64."""
    rng = seeded_rng()
    first = rigid(rng, 2.0)
    last = first @ rigid(rng, 0.1)
    middle, motion = middle_and_motion(first, last)
    x, y, z = motion[:3]
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    for s, pose in ((-0.5, first), (0.5, last)):
        line = np.eye(4)
        line[:3, :3], line[:3, 3] = expm(s * skew), s * motion[3:]
        np.testing.assert_allclose(line @ np.linalg.inv(middle), np.linalg.inv(pose), atol=1e-9)
    middle, motion = middle_and_motion(first, first)
    np.testing.assert_allclose(middle, first, atol=1e-12)
    np.testing.assert_allclose(motion, 0, atol=1e-12)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_readout_begins_at_the_first_pose_and_ends_at_the_last(direction):
    rng = seeded_rng()
    first, last = (jaxlie.SE3.exp(normal(rng, 6, std=0.3)).as_matrix() for _ in range(2))
    still = Camera(K, jnp.eye(4), W, H)
    camera = with_readout(still, first, last, direction)
    size = W if camera.shutter.columns else H
    ends = [at_line(camera, edge - 0.5).world_from_camera for edge in (0, size)]
    ends = ends[::-1] if direction in ("bottom_to_top", "right_to_left") else ends
    np.testing.assert_allclose(ends, [first, last], atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_ray_directions_are_those_of_the_lines(direction):
    camera = moving_camera(seeded_rng(), direction).replace(lens=WIDE)
    rolling = ray_directions(camera)
    for line in (0, 20, H - 1):
        index = (slice(None), line) if camera.shutter.columns else line
        np.testing.assert_allclose(rolling[index], ray_directions(at_line(camera, line))[index], atol=1e-6)


@pytest.mark.slow
def test_no_motion_changes_nothing_and_gradients_reach_points_pose_and_motion():
    rng = seeded_rng()
    camera = moving_camera(rng)
    points = points_in_view(rng, camera, 20)
    motionless = camera.replace(shutter=Shutter(jnp.zeros(6)))
    np.testing.assert_allclose(means_at_readout(points, motionless), points, atol=2e-5)

    def loss(points, pose, motion):
        moving = camera.replace(camera_from_world=pose, shutter=Shutter(motion))
        return jnp.mean(jnp.sin(pixels(means_at_readout(points, moving), moving) / 10))

    arguments = points, camera.camera_from_world, camera.shutter.motion
    gradients = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(*arguments)
    value = jax.jit(loss)
    for i, (argument, gradient) in enumerate(zip(arguments, gradients, strict=True)):
        direction = normal(rng, *argument.shape)
        direction = direction.at[..., 3:, :].set(0) if i == 1 else direction
        step = 1e-2 if i == 0 else 1e-3
        plus, minus = (
            value(*(a + sign * step * direction if k == i else a for k, a in enumerate(arguments))) for sign in (1, -1)
        )
        expected = float(plus - minus) / (2 * step)
        # The gradient holds the line constant, so it leaves out that a point moves to another line.
        np.testing.assert_allclose(float(jnp.vdot(gradient, direction)), expected, rtol=0.15, atol=0.02)
