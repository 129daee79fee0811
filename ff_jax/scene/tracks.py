"""From the boxes of a log to the tracks of its actors (host side)."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from ff_jax.data.scene_data import Box, SceneData, moving_tracks, tracks
from ff_jax.scene.actors import Tracks

SOFT = ("pedestrian", "cyclist")  # categories that deform
MIN_KEYS = 2  # boxes at key times that a path takes


def actor_names(scene: SceneData, time_indices: Sequence[int], min_path: float = 1.0) -> tuple[str, ...]:
    """Return the tracks that become actors: they travel more than `min_path` metres and are boxed at 2 key times.

    Args:
        scene: the log.
        time_indices: key times.
        min_path: metres; what moves less belongs to the background.
    """
    keys, moving = set(time_indices), moving_tracks(scene, min_path)
    boxed = {name: sum(box.time_index in keys for box in boxes) for name, boxes in tracks(scene).items()}
    return tuple(name for name in sorted(moving) if boxed[name] >= MIN_KEYS)


def make_tracks(scene: SceneData, names: Sequence[str], time_indices: Sequence[int], slots: int) -> Tracks:
    """Return the tracks of the named actors at the key times.

    Where a track has no box, its pose goes on from the two nearest boxes at their velocity, so that interpolation
    towards an absent key time stays on the path.

    Args:
        scene: the log.
        names: track ids, in the order that node numbers follow.
        time_indices: key times, indices into the log's times, increasing.
        slots: rows of the Gaussian buffer that the actors share.

    Raises:
        ValueError: a track does not exist, or has fewer than 2 boxes at key times.
    """
    found, times = tracks(scene), scene.times[list(time_indices)]
    paths = []
    for name in names:
        boxes = [box for box in found.get(name, ()) if box.time_index in set(time_indices)]
        if len(boxes) < MIN_KEYS:
            raise ValueError(f"track {name!r} has {len(boxes)} boxes at key times; an actor needs {MIN_KEYS}.")
        paths.append(_path(boxes, scene.times, times))
    quats, positions, present = (np.stack(part) for part in zip(*paths, strict=True))
    sizes = np.stack([np.mean([box.size for box in found[name]], 0) for name in names])
    as_float = lambda x: jax.device_put(np.asarray(x, np.float32))
    soft = jax.device_put(np.array([found[name][0].category in SOFT for name in names]))
    placed = as_float(times), as_float(quats), as_float(positions), jax.device_put(present), as_float(sizes)
    return Tracks(*placed, soft, slots=slots)


def _path(
    boxes: Sequence[Box], all_times: Float[np.ndarray, "times"], times: Float[np.ndarray, "T"]
) -> tuple[Float[np.ndarray, "T 4"], Float[np.ndarray, "T 3"], Bool[np.ndarray, "T"]]:
    """Return rotations, positions and presence of one track at the key times."""
    known = np.array([all_times[box.time_index] for box in boxes])
    poses = np.stack([box.world_from_object for box in boxes])
    below = np.clip(np.searchsorted(known, times, side="right") - 1, 0, len(known) - 2)
    share = ((times - known[below]) / (known[below + 1] - known[below]))[:, None]
    positions = (1 - share) * poses[below, :3, 3] + share * poses[below + 1, :3, 3]
    first, second = (Rotation.from_matrix(poses[i, :3, :3]) for i in (below, below + 1))
    # Beyond its boxes a path goes straight on: a turn that lasts would run in circles.
    bend = np.clip(share, 0, 1) * (first.inv() * second).as_rotvec()
    quats = (first * Rotation.from_rotvec(bend)).as_quat(scalar_first=True)
    return quats, positions, np.isclose(times[:, None], known[None]).any(1)
