"""Edit a scene by actor: remove, move, place, duplicate, replace. Pure functions; node 1 + a is actor a.

Edits change the poses of actors and the slots that are alive, but not the background. The background behind an actor
keeps its posterior, so the EIG map is large where the recorded views did not observe it.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np
from jax import Array
from jaxtyping import Float, Float32
from numpy import ndarray
from scipy.spatial.transform import Rotation

from ff_jax.render.rigid import in_float32, quats_to_matrices
from ff_jax.scene.actors import Tracks
from ff_jax.scene.scene import Scene


def remove(scene: Scene, actor: int) -> Scene:
    """Remove an actor: its slots become free, its track stays.

    Raises:
        ValueError: there is no such actor.
    """
    _check(scene, actor)
    return scene.replace(alive=scene.alive & (scene.node != actor + 1))


@in_float32
def move(scene: Scene, actor: int, by: Float[ndarray, "3"] | Float32[Array, "3"], turn: float = 0.0) -> Scene:
    """Move an actor at all times.

    Args:
        scene: the scene.
        actor: its number.
        by: meters in its own frame (x forward, y left, z up).
        turn: rotation about its own z axis after the translation, radians, positive to the left.

    Raises:
        ValueError: there is no such actor.
    """
    tracks = _check(scene, actor)
    axes = quats_to_matrices(tracks.quats[actor])
    positions = tracks.positions.at[actor].add(jnp.einsum("tij,j->ti", axes, jnp.asarray(by, jnp.float32)))
    turned = jaxlie.SO3(tracks.quats[actor]) @ jaxlie.SO3.from_z_radians(jnp.float32(turn))
    return scene.replace(tracks=tracks.replace(positions=positions, quats=tracks.quats.at[actor].set(turned.wxyz)))


def place(scene: Scene, world_from_object: Mapping[int, Float[ndarray, "4 4"]]) -> Scene:
    """Put actors at poses that do not depend on time, and let the others be absent; nothing changes its shape.

    Args:
        scene: the scene.
        world_from_object: the pose of the box of every actor that is present, meters, by its number.

    Raises:
        ValueError: there is no such actor.
    """
    for actor in world_from_object:
        _check(scene, actor)
    tracks, actors = scene.tracks, scene.params.actors
    if tracks is None or actors is None:
        return scene
    quats, positions, present = (np.zeros(x.shape, x.dtype) for x in (tracks.quats, tracks.positions, tracks.present))
    quats[..., 0] = 1.0
    for actor, pose in world_from_object.items():
        quats[actor] = Rotation.from_matrix(pose[:3, :3]).as_quat(scalar_first=True)
        positions[actor], present[actor] = pose[:3, 3], True
    placed = jax.device_put((quats, positions, present))
    tracks = tracks.replace(quats=placed[0], positions=placed[1], present=placed[2])
    actors = actors.replace(turns=jnp.zeros_like(actors.turns), moves=jnp.zeros_like(actors.moves))
    return scene.replace(tracks=tracks, params=scene.params.replace(actors=actors))


def duplicate(scene: Scene, actor: int) -> Scene:
    """Add a copy of an actor in the same place, as the last actor.

    The buffer grows by the number of alive Gaussians of the actor.

    Raises:
        ValueError: there is no such actor.
    """
    tracks, actors = _check(scene, actor), scene.params.actors
    assert actors is not None

    def append_copy(x: Array) -> Array:
        return jnp.concatenate([x, x[actor][None]])

    names = ("quats", "positions", "present", "sizes", "soft")
    tracks = tracks.replace(**{name: append_copy(getattr(tracks, name)) for name in names})
    soft = actors.soft and actors.soft.replace(codes=append_copy(actors.soft.codes))
    actors = actors.replace(turns=append_copy(actors.turns), moves=append_copy(actors.moves), soft=soft)
    scene = scene.replace(tracks=tracks, params=scene.params.replace(actors=actors))
    return _with_copies(scene, actor, tracks.sizes.shape[0] - 1)


def replace(scene: Scene, actor: int, other: int) -> Scene:
    """Replace the Gaussians of an actor by a copy of those of `other`, on the same ground.

    Raises:
        ValueError: there is no such actor.
    """
    tracks = _check(scene, actor)
    _check(scene, other)
    copied = _with_copies(remove(scene, actor), other, actor)
    lift = 0.5 * (tracks.sizes[other, 2] - tracks.sizes[actor, 2])
    sizes = tracks.sizes.at[actor].set(tracks.sizes[other])
    copied = copied.replace(tracks=_check(copied, actor).replace(sizes=sizes))
    return move(copied, actor, jnp.array([0.0, 0.0, 1.0]) * lift)


def _check(scene: Scene, actor: int) -> Tracks:
    """Check that a scene has the actor; return its tracks."""
    count = 0 if scene.tracks is None else scene.tracks.sizes.shape[0]
    if scene.tracks is None or not 0 <= actor < count:
        raise ValueError(f"invalid {actor=}: the scene has {count} actors, numbered from 0.")
    return scene.tracks


def _with_copies(scene: Scene, source: int, owner: int) -> Scene:
    """Append copies of the Gaussians of actor `source` that belong to actor `owner`."""
    tracks, rows = _check(scene, source), jnp.flatnonzero(scene.alive & (scene.node == source + 1))

    def append(x: Array) -> Array:
        return jnp.concatenate([x, x[rows]])

    gaussians = jax.tree.map(append, scene.params.gaussians)
    node = jnp.concatenate([scene.node, jnp.full(rows.shape, owner + 1, jnp.int32)])
    tracks = tracks.replace(slots=tracks.slots + rows.shape[0])
    return Scene(scene.params.replace(gaussians=gaussians), append(scene.alive), node, tracks)
