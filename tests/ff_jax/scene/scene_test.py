import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.render.camera import make_camera, resize
from ff_jax.render.renderer import RenderSettings, ray_directions
from ff_jax.scene import init_scene, refined_camera, render_scene
from ff_jax.scene.exposure import apply_exposure
from ff_jax.scene.scene import View

SETTINGS = RenderSettings(capacity=2048)
rendered = jax.jit(lambda scene: render_scene(scene, view(), SETTINGS))


def tiny_scene(rng, count=40, capacity=64):
    xyz = rng.uniform([-2, -1, 3], [2, 1, 8], (count, 3))
    arrays = [jnp.asarray(a, jnp.float32) for a in (xyz, rng.uniform(size=(count, 3)), np.full(count, 0.3))]
    sizes = {"capacity": capacity, "sh_degree": 1, "exposures": 2, "frames": 2, "cameras": 1}
    return init_scene(jax.random.key(0), *arrays, **sizes)


def view(frame=0, width=40, height=24):
    K = np.array([[30.0, 0, 20], [0, 30, 12], [0, 0, 1]])
    number = jnp.int32
    return View(make_camera(K, np.eye(4), width, height), number(0), number(frame), number(frame), jnp.float32(0))


def test_dead_slots_do_not_show():
    scene = tiny_scene(np.random.default_rng())
    rgb = rendered(scene).rgb
    visible_garbage = scene.params.gaussians.means.at[40:].set(jnp.array([0.0, 0.0, 2.0]))
    gaussians = scene.params.gaussians.replace(means=visible_garbage)
    other = scene.replace(params=scene.params.replace(gaussians=gaussians))
    np.testing.assert_array_equal(rgb, rendered(other).rgb)


def test_empty_scene_shows_the_sky():
    scene = tiny_scene(np.random.default_rng())
    empty = scene.replace(alive=jnp.zeros_like(scene.alive))
    out = rendered(empty)
    np.testing.assert_allclose(out.rgb, out.sky, atol=1e-6)
    assert float(out.alpha.max()) == 0


def test_gradients_reach_poses_intrinsics_exposure_and_sky():
    rng = np.random.default_rng()
    scene = tiny_scene(rng)
    # What another pose sees: towards it the loss has a slope that outweighs the small steps where splats are cut off.
    moved = jnp.asarray(rng.choice([-1, 1], 6) * rng.uniform(0.05, 0.1, 6), jnp.float32)
    there = scene.params.replace(poses=scene.params.poses.at[0].set(moved))
    target = rendered(scene.replace(params=there)).rgb

    def loss(params):
        return jnp.mean((rendered(scene.replace(params=params)).rgb - target) ** 2)

    grads = jax.jit(jax.grad(loss))(scene.params)
    for name in ("poses", "intrinsics", "exposure"):
        rows = jnp.abs(getattr(grads, name)).reshape(getattr(grads, name).shape[0], -1).sum(-1)
        assert rows[0] > 0, name
        assert float(rows[1:].sum()) == 0, f"{name} of other images must not move"
    assert all(float(jnp.abs(x).sum()) > 0 for x in jax.tree.leaves(grads.sky)[-2:])
    # Finite difference of the pose, the coordinate that a renderer most easily gets wrong in sign.
    step = 3e-3
    moves = [scene.params.replace(poses=scene.params.poses.at[0, i].add(s)) for i in range(6) for s in (step, -step)]
    slope = np.diff(np.reshape([loss(moved) for moved in moves], (6, 2)))[:, 0] / (-2 * step)
    pose = np.asarray(grads.poses[0])
    np.testing.assert_allclose(slope, pose, atol=0.2 * np.abs(pose).max())
    assert slope @ pose > 0.99 * np.linalg.norm(slope) * np.linalg.norm(pose)


def test_views_off_the_record_ignore_learnt_corrections():
    scene = tiny_scene(np.random.default_rng())
    params = scene.params.replace(poses=scene.params.poses + 0.1, intrinsics=scene.params.intrinsics + 0.1)
    camera = refined_camera(params, view(frame=-1))
    np.testing.assert_array_equal(camera.K, view().camera.K)
    np.testing.assert_allclose(camera.camera_from_world, view().camera.camera_from_world, atol=1e-6)
    assert not np.allclose(refined_camera(params, view(frame=0)).K, view().camera.K)


def test_exposure_is_affine():
    rng = np.random.default_rng()
    rgb, delta = rng.uniform(size=(5, 7, 3)).astype(np.float32), rng.normal(size=(3, 4)).astype(np.float32)
    expected = rgb @ (np.eye(3) + delta[:, :3]).T + delta[:, 3]
    np.testing.assert_allclose(apply_exposure(jnp.asarray(rgb), jnp.asarray(delta)), expected, rtol=1e-5, atol=1e-6)


def test_ray_directions_hit_the_pixels_they_belong_to():
    rng = np.random.default_rng()
    from scipy.spatial.transform import Rotation

    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.random(rng=rng).as_matrix(), rng.normal(size=3)
    camera = make_camera(np.array([[30.0, 0, 19], [0, 28, 13], [0, 0, 1]]), pose, 40, 24)
    points = pose[:3, 3] + 7.0 * np.asarray(ray_directions(camera))
    in_camera = (points - pose[:3, 3]) @ pose[:3, :3]
    pixels = in_camera @ np.asarray(camera.K).T
    v, u = np.mgrid[:24, :40] + 0.5
    np.testing.assert_allclose(pixels[..., :2] / pixels[..., 2:], np.stack([u, v], -1), rtol=1e-4)
    half = resize(camera, 20, 12)
    np.testing.assert_allclose(half.K, [[15, 0, 9.5], [0, 14, 6.5], [0, 0, 1]])


def test_too_many_points_are_refused():
    with pytest.raises(ValueError, match="40 initial points do not fit into capacity=8"):
        tiny_scene(np.random.default_rng(), capacity=8)
