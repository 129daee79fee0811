"""Edit a scene by actor: remove, move, duplicate, replace. Pure functions; node 1 + a is actor a.

Edits change where actors are and which slots are alive, never the background: what an actor hid stays as well
known, or as badly, as the recorded views left it, and EIG says so.
"""

import jax
import jax.numpy as jnp
import jaxlie
from jax import Array
from jaxtyping import Float, Float32
from numpy import ndarray

from ff_jax.render.rigid import in_float32, quats_to_matrices
from ff_jax.scene.actors import Tracks
from ff_jax.scene.scene import Scene


def remove(scene: Scene, actor: int) -> Scene:
    """Return the scene without an actor; its slots are dead, its track stays.

    Raises:
        ValueError: there is no such actor.
    """
    _check(scene, actor)
    return scene.replace(alive=scene.alive & (scene.node != actor + 1))


@in_float32
def move(scene: Scene, actor: int, by: Float[ndarray, "3"] | Float32[Array, "3"], turn: float = 0.0) -> Scene:
    """Return the scene with an actor moved at all times.

    Args:
        scene: the scene.
        actor: its number.
        by: metres in its own frame (x forward, y left, z up).
        turn: radians about its own z axis, to the left, after moving.

    Raises:
        ValueError: there is no such actor.
    """
    tracks = _check(scene, actor)
    axes = quats_to_matrices(tracks.quats[actor])
    positions = tracks.positions.at[actor].add(jnp.einsum("tij,j->ti", axes, jnp.asarray(by, jnp.float32)))
    turned = jaxlie.SO3(tracks.quats[actor]) @ jaxlie.SO3.from_z_radians(jnp.float32(turn))
    return scene.replace(tracks=tracks.replace(positions=positions, quats=tracks.quats.at[actor].set(turned.wxyz)))


def duplicate(scene: Scene, actor: int) -> Scene:
    """Return the scene with a copy of an actor in the same place, as the last actor; `move` it on.

    The buffer grows by as many slots as the actor has alive.

    Raises:
        ValueError: there is no such actor.
    """
    tracks = _check(scene, actor)
    again = lambda x: jnp.concatenate([x, x[actor][None]])
    grown = tracks.replace(
        **{name: again(getattr(tracks, name)) for name in ("quats", "positions", "present", "sizes", "soft")}
    )
    actors = scene.params.actors
    soft = actors.soft and actors.soft.replace(codes=again(actors.soft.codes))
    actors = actors.replace(turns=again(actors.turns), moves=again(actors.moves), soft=soft)
    params = scene.params.replace(actors=actors)
    scene = scene.replace(tracks=grown, params=params)
    return _with_copies(scene, actor, grown.sizes.shape[0] - 1)


def replace(scene: Scene, actor: int, other: int) -> Scene:
    """Return the scene with what `other` looks like in the place of an actor, on the same ground.

    Raises:
        ValueError: there is no such actor.
    """
    tracks = _check(scene, actor)
    _check(scene, other)
    copied = _with_copies(remove(scene, actor), other, actor)
    lift = 0.5 * (tracks.sizes[other, 2] - tracks.sizes[actor, 2])
    sizes = tracks.sizes.at[actor].set(tracks.sizes[other])
    copied = copied.replace(tracks=copied.tracks.replace(sizes=sizes))
    return move(copied, actor, jnp.array([0.0, 0.0, 1.0]) * lift)


def _check(scene: Scene, actor: int) -> Tracks:
    """Return the tracks of a scene that has the actor."""
    count = 0 if scene.tracks is None else scene.tracks.sizes.shape[0]
    if not 0 <= actor < count:
        raise ValueError(f"there is no {actor=}: the scene has {count}, numbered from 0.")
    return scene.tracks


def _with_copies(scene: Scene, source: int, owner: int) -> Scene:
    """Append copies of the Gaussians of actor `source` that belong to actor `owner`."""
    rows = jnp.flatnonzero(scene.alive & (scene.node == source + 1))
    append = lambda x: jnp.concatenate([x, x[rows]])
    gaussians = jax.tree.map(append, scene.params.gaussians)
    node = jnp.concatenate([scene.node, jnp.full(rows.shape, owner + 1, jnp.int32)])
    tracks = scene.tracks.replace(slots=scene.tracks.slots + rows.shape[0])
    return Scene(scene.params.replace(gaussians=gaussians), append(scene.alive), node, tracks)
