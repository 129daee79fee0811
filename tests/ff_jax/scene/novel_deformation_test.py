"""The deformation for cameras off the recorded path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.render.renderer import RenderSettings
from ff_jax.scene import SceneModel, render_scene
from ff_jax.scene.novel_deformation import init_novel_motion
from ff_jax.scene.scene import PointCloud, with_ground
from tests.random_inputs import seeded_rng
from tests.scenes import make_view, pinhole, quick, scene_from_points

SETTINGS = RenderSettings(capacity=4096)
COUNT, GROUND = 30, 12


def points(rng, count):
    xyz = rng.uniform([-2, -1, 3], [2, 1, 8], (count, 3))
    return jnp.asarray(xyz, jnp.float32), jnp.asarray(rng.random((count, 3)), jnp.float32), jnp.full(count, 0.3)


@pytest.fixture
def scenes():
    """Return a scene with a ground, without and with a deformation whose parameters are random."""
    rng = seeded_rng()
    xyz, rgb, _ = map(np.asarray, points(rng, COUNT))
    scene = with_ground(scene_from_points(xyz, rgb, 0.3, COUNT), PointCloud(*points(rng, GROUND)), GROUND + 2)
    motion = jax.tree.map(
        lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape), jnp.float32), init_novel_motion(jax.random.key(0))
    )
    return scene, scene.replace(params=scene.params.replace(novel=motion))


def view(offset=None):
    return make_view(pinhole(40, 24, 30.0, 0.4), time=0.3)._replace(offset=offset)


render = jax.jit(lambda scene, view: render_scene(SceneModel(scene, SETTINGS, 1), view))
means = jax.jit(lambda scene, view: SceneModel(scene, SETTINGS, 1).render_input(view).world.gaussians.means)


@pytest.mark.slow
def test_a_recorded_camera_renders_the_same_bits_with_and_without_the_deformation(scenes):
    for one, other in zip(*(render(scene, view()) for scene in scenes), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_novel_camera_sees_moved_gaussians_but_the_same_ground(scenes):
    plain, deformed = scenes
    still = means(plain, view())
    moved = {x: means(deformed, view(jnp.array([x, 0.0, 0.0]))) for x in (1.0, 3.0)}
    for positions in moved.values():
        np.testing.assert_array_equal(positions[: GROUND + 2], still[: GROUND + 2])
        assert np.abs(positions - still)[GROUND + 2 :].max(-1).min() > 1e-4
    assert np.abs(moved[1.0] - moved[3.0]).max() > 1e-3  # it depends on the offset
    assert np.abs(render(plain, view()).rgb - render(deformed, view(jnp.array([3.0, 0, 0]))).rgb).max() > 1e-3


@pytest.mark.slow
def test_a_new_deformation_moves_nothing_and_learns_from_novel_cameras_only(scenes):
    plain, _ = scenes
    new = plain.replace(params=plain.params.replace(novel=init_novel_motion(jax.random.key(1))))
    offset = jnp.array([2.0, 0.0, 0.0])
    np.testing.assert_array_equal(means(new, view(offset)), means(plain, view()))

    def error(novel, view):
        scene = new.replace(params=new.params.replace(novel=novel))
        return jnp.mean(jnp.square(render_scene(SceneModel(scene, SETTINGS, 1), view).rgb - 0.5))

    for given, has_gradient in ((offset, True), (None, False)):
        gradient = quick(jax.grad(error))(new.params.novel, view(given))
        assert any(np.any(leaf) for leaf in jax.tree.leaves(gradient)) == has_gradient


@pytest.mark.slow
def test_offsets_are_dropped_where_nothing_depends_on_them(scenes):
    given = view(jnp.ones(3))
    kept = [SceneModel(scene, SETTINGS).prepare(given).offset is not None for scene in scenes]
    assert kept == [False, True]
