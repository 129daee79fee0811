"""The forward model of a scene, and its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ff_jax.render.camera import make_camera, resize
from ff_jax.render.renderer import RenderSettings, ray_directions
from ff_jax.scene import SceneModel, refined_camera, render_scene
from ff_jax.scene.exposure import apply_exposure
from tests.random_inputs import seeded_rng
from tests.scenes import make_view, pinhole, scene_from_points

SETTINGS = RenderSettings(capacity=2048)


def tiny_scene(rng, count=40, capacity=64):
    xyz = rng.uniform([-2, -1, 3], [2, 1, 8], (count, 3))
    return scene_from_points(xyz, rng.uniform(size=(count, 3)), 0.3, capacity, exposures=2, frames=2)


def view(frame=0):
    return make_view(pinhole(40, 24, 30.0), frame=frame, rig=frame)


@jax.jit
def rendered(scene):
    return render_scene(SceneModel(scene, SETTINGS, 3), view())


@pytest.mark.slow
def test_dead_slots_are_invisible():
    scene = tiny_scene(seeded_rng())
    rgb = rendered(scene).rgb
    means = scene.params.gaussians.means.at[40:].set(jnp.array([0.0, 0.0, 2.0]))
    gaussians = scene.params.gaussians.replace(means=means)
    other = scene.replace(params=scene.params.replace(gaussians=gaussians))
    np.testing.assert_array_equal(rgb, rendered(other).rgb)


def test_an_empty_scene_shows_the_sky():
    scene = tiny_scene(seeded_rng())
    empty = scene.replace(alive=jnp.zeros_like(scene.alive))
    out = rendered(empty)
    np.testing.assert_allclose(out.rgb, out.sky, atol=1e-6)
    assert float(out.alpha.max()) == 0


@pytest.mark.slow
def test_gradients_reach_poses_intrinsics_exposure_and_sky():
    rng = seeded_rng()
    scene = tiny_scene(rng)
    # The target is the view of another pose: the loss then has a gradient larger than the steps where splats are cut.
    delta = jnp.asarray(rng.choice([-1, 1], 6) * rng.uniform(0.05, 0.1, 6), jnp.float32)
    moved = scene.params.replace(poses=scene.params.poses.at[0].set(delta))
    target = rendered(scene.replace(params=moved)).rgb

    def loss(params):
        return jnp.mean((rendered(scene.replace(params=params)).rgb - target) ** 2)

    grads = jax.jit(jax.grad(loss))(scene.params)
    for name in ("poses", "intrinsics", "exposure"):
        rows = jnp.abs(getattr(grads, name)).reshape(getattr(grads, name).shape[0], -1).sum(-1)
        assert rows[0] > 0, name
        assert float(rows[1:].sum()) == 0, f"{name} of other images must not move"
    assert all(float(jnp.abs(x).sum()) > 0 for x in jax.tree.leaves(grads.sky)[-2:])
    # Finite difference of the pose: an error of sign would be easiest to make there.
    step = 3e-3
    moves = [scene.params.replace(poses=scene.params.poses.at[0, i].add(s)) for i in range(6) for s in (step, -step)]
    slope = np.diff(np.reshape([loss(moved) for moved in moves], (6, 2)))[:, 0] / (-2 * step)
    pose = np.asarray(grads.poses[0])
    np.testing.assert_allclose(slope, pose, atol=0.2 * np.abs(pose).max())
    assert slope @ pose > 0.99 * np.linalg.norm(slope) * np.linalg.norm(pose)


def test_views_that_are_not_recorded_ignore_corrections():
    scene = tiny_scene(seeded_rng())
    params = scene.params.replace(poses=scene.params.poses + 0.1, intrinsics=scene.params.intrinsics + 0.1)
    camera = refined_camera(params, view(frame=-1))
    np.testing.assert_array_equal(camera.K, view().camera.K)
    np.testing.assert_allclose(camera.camera_from_world, view().camera.camera_from_world, atol=1e-6)
    assert not np.allclose(refined_camera(params, view(frame=0)).K, view().camera.K)


def test_exposure_is_affine():
    rng = seeded_rng()
    rgb, delta = rng.uniform(size=(5, 7, 3)).astype(np.float32), rng.normal(size=(3, 4)).astype(np.float32)
    expected = rgb @ (np.eye(3) + delta[:, :3]).T + delta[:, 3]
    np.testing.assert_allclose(apply_exposure(jnp.asarray(rgb), jnp.asarray(delta)), expected, rtol=1e-5, atol=1e-6)


def test_ray_directions_pass_through_their_pixels():
    rng = seeded_rng()
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.random(rng=rng).as_matrix(), rng.normal(size=3)
    camera = make_camera(np.array([[30.0, 4, 19], [0, 28, 13], [0, 0, 1]]), pose, 40, 24)
    points = pose[:3, 3] + 7.0 * np.asarray(ray_directions(camera))
    in_camera = (points - pose[:3, 3]) @ pose[:3, :3]
    pixels = in_camera @ np.asarray(camera.K).T
    v, u = np.mgrid[:24, :40] + 0.5
    np.testing.assert_allclose(pixels[..., :2] / pixels[..., 2:], np.stack([u, v], -1), rtol=1e-4)
    half = resize(camera, 20, 12)
    np.testing.assert_allclose(half.K, [[15, 2, 9.5], [0, 14, 6.5], [0, 0, 1]])


def test_too_many_points_are_an_error():
    with pytest.raises(ValueError, match="40 initial points do not fit into capacity=8"):
        tiny_scene(seeded_rng(), capacity=8)
