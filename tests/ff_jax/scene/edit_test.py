"""Edits change the actors that they name, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.scene import compose, edit
from tests.ff_jax.scene.actors_test import FIXED, SLOTS, M, random_pose, scene_of, tracks_of
from tests.random_inputs import seeded_rng

composed = jax.jit(compose)


@pytest.fixture
def scene():
    rng = seeded_rng()
    return scene_of(rng, tracks_of(np.stack([random_pose(rng), random_pose(rng)])))


def own(scene, actor=0, time=0.0):
    """Compute the world positions of the alive Gaussians of an actor."""
    world = composed(scene, jnp.float32(time))
    return np.asarray(world.gaussians.means)[np.asarray(world.alive & (scene.node == actor + 1))]


def object_axes(scene, time=0.0):
    """Compute the axes of the last actor in the world, as columns."""
    return np.asarray(composed(scene, jnp.float32(time)).sh_axes)[-1]


@pytest.mark.slow
def test_remove_changes_only_the_actor(scene):
    edited = edit.remove(scene, 0)
    assert len(own(scene)) == M and len(own(edited)) == 0
    assert int(edited.alive[:FIXED].sum()) == int(scene.alive[:FIXED].sum())


def test_move_acts_in_the_object_frame_at_all_times(scene):
    for time in (0.0, 1.0):
        moved = edit.move(scene, 0, np.array([3.0, 0.5, 0.0]))
        expected = own(scene, time=time) + object_axes(scene, time) @ [3.0, 0.5, 0.0]
        np.testing.assert_allclose(own(moved, time=time), expected, atol=1e-5)
    rotated = own(edit.move(scene, 0, np.zeros(3), np.pi))
    center, up = np.asarray(scene.tracks.positions[0, 0]), object_axes(scene)[:, 2]
    offset = own(scene) - center
    expected = 2 * np.outer(offset @ up, up) - offset + center  # half a rotation about z
    np.testing.assert_allclose(rotated, expected, atol=1e-5)


@pytest.mark.slow
def test_a_duplicate_is_equal_and_independent(scene):
    twice = edit.duplicate(scene, 0)
    np.testing.assert_allclose(own(twice, 1), own(scene), atol=1e-6)
    apart = edit.move(twice, 1, np.array([5.0, 0, 0]))
    np.testing.assert_allclose(own(apart, 0), own(scene), atol=1e-6)
    assert apart.alive.shape[0] == FIXED + SLOTS + M and apart.num_static == FIXED
    assert len(own(edit.remove(apart, 0), 1)) == M


@pytest.mark.slow
def test_replace_keeps_the_ground(scene):
    two = edit.move(edit.duplicate(scene, 0), 1, np.array([5.0, 0, 0]))
    sizes = two.tracks.sizes.at[0, 2].set(1.0).at[1, 2].set(3.0)
    two = two.replace(tracks=two.tracks.replace(sizes=sizes))
    swapped = edit.replace(two, 0, 1)
    up = object_axes(scene)[:, 2]
    np.testing.assert_allclose(own(swapped, 0), own(two, 0) + up, atol=1e-5)  # half of the extra 2 m
    np.testing.assert_allclose(swapped.tracks.sizes[0], two.tracks.sizes[1])


def test_actors_that_do_not_exist_are_errors(scene):
    with pytest.raises(ValueError, match="invalid actor=1: the scene has 1 actors"):
        edit.remove(scene, 1)
    with pytest.raises(ValueError, match="the scene has 0 actors"):
        edit.move(scene.replace(tracks=None), 0, np.zeros(3))


def test_placed_actors_are_at_their_poses_at_all_times_and_others_are_absent(scene):
    two, pose = edit.duplicate(scene, 0), np.eye(4)
    pose[:3, :3], pose[:3, 3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]], [1.0, 2.0, 3.0]
    placed = edit.place(two, {1: pose})
    rest = np.asarray(two.params.gaussians.means)[np.asarray(two.alive & (two.node == 2))]
    for time in (0.0, 0.7):
        np.testing.assert_allclose(own(placed, 1, time), rest @ pose[:3, :3].T + pose[:3, 3], atol=1e-5)
        assert len(own(placed, 0, time)) == 0
    assert jax.tree.map(jnp.shape, placed) == jax.tree.map(jnp.shape, two)
    with pytest.raises(ValueError, match="invalid actor=2: the scene has 2 actors"):
        edit.place(two, {2: pose})
    plain = two.replace(tracks=None)
    assert edit.place(plain, {}) is plain
