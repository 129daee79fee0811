"""Editing: what is left, what has moved, and that everything else stays as it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.render.trajectories import tilted
from ff_jax.scene import compose, edit
from tests.ff_jax.scene.actors_test import FIXED, SLOTS, M, random_pose, scene_of, tracks_of

posed = jax.jit(compose)


@pytest.fixture
def scene():
    rng = np.random.default_rng()
    return scene_of(rng, tracks_of(np.stack([random_pose(rng), random_pose(rng)])))


def own(scene, actor=0, time=0.0):
    """Return the world positions of an actor's Gaussians that are alive."""
    gaussians, alive, _ = posed(scene, jnp.float32(time))
    return np.asarray(gaussians.means)[np.asarray(alive & (scene.node == actor + 1))]


def test_a_removed_actor_is_gone_and_nothing_else(scene):
    gone = edit.remove(scene, 0)
    assert len(own(scene)) == M and len(own(gone)) == 0
    assert int(gone.alive[:FIXED].sum()) == int(scene.alive[:FIXED].sum())


def test_moving_acts_in_the_actors_own_frame_at_all_times(scene):
    for time in (0.0, 1.0):
        axes = np.asarray(posed(scene, jnp.float32(time)).axes)[-1]
        moved = edit.move(scene, 0, np.array([3.0, 0.5, 0.0]))
        wanted = own(scene, time=time) + axes @ [3.0, 0.5, 0.0]
        np.testing.assert_allclose(own(moved, time=time), wanted, atol=1e-5)
    turned = own(edit.move(scene, 0, np.zeros(3), np.pi))
    centre = np.asarray(scene.tracks.positions[0, 0])
    up = np.asarray(posed(scene, jnp.float32(0)).axes)[-1][:, 2]
    mirrored = lambda x: 2 * np.outer((x - centre) @ up, up) - (x - centre) + centre  # half a turn about z
    np.testing.assert_allclose(turned, mirrored(own(scene)), atol=1e-5)


def test_a_copy_is_the_same_and_independent(scene):
    twice = edit.duplicate(scene, 0)
    np.testing.assert_allclose(own(twice, 1), own(scene), atol=1e-6)
    apart = edit.move(twice, 1, np.array([5.0, 0, 0]))
    np.testing.assert_allclose(own(apart, 0), own(scene), atol=1e-6)
    assert apart.alive.shape[0] == FIXED + SLOTS + M and apart.statics == FIXED
    assert len(own(edit.remove(apart, 0), 1)) == M


def test_replacing_puts_the_other_one_on_the_same_ground(scene):
    two = edit.move(edit.duplicate(scene, 0), 1, np.array([5.0, 0, 0]))
    sizes = two.tracks.sizes.at[0, 2].set(1.0).at[1, 2].set(3.0)
    two = two.replace(tracks=two.tracks.replace(sizes=sizes))
    swapped = edit.replace(two, 0, 1)
    up = np.asarray(posed(scene, jnp.float32(0)).axes)[-1][:, 2]
    np.testing.assert_allclose(own(swapped, 0), own(two, 0) + up, atol=1e-5)  # half of the extra 2 m
    np.testing.assert_allclose(swapped.tracks.sizes[0], two.tracks.sizes[1])


def test_actors_that_do_not_exist_are_named(scene):
    with pytest.raises(ValueError, match="there is no actor=1: the scene has 1"):
        edit.remove(scene, 1)
    with pytest.raises(ValueError, match="the scene has 0"):
        edit.move(scene.replace(tracks=None), 0, np.zeros(3))


def test_a_tilted_camera_looks_up_from_the_same_place():
    pose = random_pose(np.random.default_rng())
    up = tilted(pose, 0.3)
    np.testing.assert_array_equal(up[:3, 3], pose[:3, 3])
    np.testing.assert_allclose(up[:3, 0], pose[:3, 0], atol=1e-12)
    np.testing.assert_allclose(up[:3, 2] @ -pose[:3, 1], np.sin(0.3), atol=1e-6)  # camera y points down
