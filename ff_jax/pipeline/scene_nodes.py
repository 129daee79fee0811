"""The nodes of a scene for formats that hold their motion: ground, background, each actor in its box frame."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ff_jax.export.formats.nodes import NodeMotion, SceneNode
from ff_jax.export.formats.splats import select_alive
from ff_jax.render.gaussians import on_host
from ff_jax.scene import Scene
from ff_jax.scene.actors import poses_at
from ff_jax.scene.scene import shapes_at

_poses_at_times = jax.jit(jax.vmap(poses_at, (None, None, 0)))


def scene_nodes(scene: Scene, names: Sequence[str] = (), time: float = 0.0) -> list[SceneNode]:
    """List the nodes of a scene that have Gaussians.

    Args:
        scene: the scene.
        names: ids of its actors; by default their numbers.
        time: seconds, of the shape of actors that deform; their motion is that of their boxes.
    """
    gaussians, alive = on_host(jax.jit(shapes_at)(scene, jnp.float32(time))), np.asarray(scene.alive)
    owner, rows = np.asarray(scene.node), np.arange(len(alive))
    is_ground = rows < scene.num_ground
    parts = {"ground": is_ground, "static": ~is_ground & (owner == 0)}
    nodes = [SceneNode(name, select_alive(gaussians, alive & part)) for name, part in parts.items()]
    nodes = [node for node in nodes if node.gaussians.count]
    for actor, motion in enumerate(_motions(scene)):
        own = select_alive(gaussians, alive & (owner == actor + 1))
        if own.count:
            track = names[actor] if names else str(actor)
            nodes.append(SceneNode(f"actor_{track}", own, motion, track))
    return nodes


def _motions(scene: Scene) -> list[NodeMotion]:
    """Compute the corrected poses of all actors at their key times."""
    if scene.tracks is None or scene.params.actors is None:
        return []
    poses = _poses_at_times(scene.tracks, scene.params.actors, scene.tracks.times)
    quats, positions = np.asarray(poses.quats, np.float64), np.asarray(poses.positions, np.float64)
    times, present = np.asarray(scene.tracks.times, np.float64), np.asarray(scene.tracks.present)
    return [NodeMotion(times, quats[:, a], positions[:, a], present[a]) for a in range(len(present))]
