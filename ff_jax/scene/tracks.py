"""Make the tracks of actors from the boxes of a log (host side)."""

from collections.abc import Sequence

import jax
import numpy as np
from jax import Array
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from ff_jax.data.scene_data import Box, SceneData, moving_tracks, tracks
from ff_jax.scene.actors import Tracks

SOFT = ("pedestrian", "cyclist")  # categories that deform
MIN_KEYS = 2  # smallest number of boxes at key times that define a path


def actor_names(scene: SceneData, time_indices: Sequence[int], min_path: float = 1.0) -> tuple[str, ...]:
    """Select the tracks that become actors: they travel more than `min_path` meters and have boxes at 2 key times.

    Args:
        scene: the log.
        time_indices: key times.
        min_path: meters; tracks that travel less belong to the background.
    """
    keys, moving = set(time_indices), moving_tracks(scene, min_path)
    boxed = {name: sum(box.time_index in keys for box in boxes) for name, boxes in tracks(scene).items()}
    return tuple(name for name in sorted(moving) if boxed[name] >= MIN_KEYS)


def make_tracks(scene: SceneData, names: Sequence[str], time_indices: Sequence[int], slots: int) -> Tracks:
    """Make the tracks of the named actors at the key times.

    Where a track has no box, its pose is extrapolated from the two nearest boxes at constant velocity, so that
    interpolation towards an absent key time stays on the path.

    Args:
        scene: the log.
        names: track ids, in the order of the node numbers.
        time_indices: key times, indices into the log's times, increasing.
        slots: rows of the Gaussian buffer that the actors share.

    Raises:
        ValueError: a track does not exist, or has fewer than 2 boxes at key times.
    """
    boxes_of, times = tracks(scene), scene.times[list(time_indices)]
    paths = []
    for name in names:
        boxes = [box for box in boxes_of.get(name, ()) if box.time_index in set(time_indices)]
        if len(boxes) < MIN_KEYS:
            raise ValueError(f"track {name!r} has {len(boxes)} boxes at key times: expected at least {MIN_KEYS}.")
        paths.append(_path(boxes, scene.times, times))
    quats, positions, present = (np.stack(part) for part in zip(*paths, strict=True))
    sizes = np.stack([np.mean([box.size for box in boxes_of[name]], 0) for name in names])
    is_soft = np.array([boxes_of[name][0].category in SOFT for name in names])

    def as_float(x: np.ndarray) -> Array:
        return jax.device_put(np.asarray(x, np.float32))

    return Tracks(
        times=as_float(times),
        quats=as_float(quats),
        positions=as_float(positions),
        present=jax.device_put(present),
        sizes=as_float(sizes),
        soft=jax.device_put(is_soft),
        slots=slots,
    )


def _path(
    boxes: Sequence[Box], all_times: Float[np.ndarray, "times"], times: Float[np.ndarray, "T"]
) -> tuple[Float[np.ndarray, "T 4"], Float[np.ndarray, "T 3"], Bool[np.ndarray, "T"]]:
    """Compute rotations, positions and presence of one track at the key times."""
    box_times = np.array([all_times[box.time_index] for box in boxes])
    poses = np.stack([box.world_from_object for box in boxes])
    below = np.clip(np.searchsorted(box_times, times, side="right") - 1, 0, len(box_times) - 2)
    share = ((times - box_times[below]) / (box_times[below + 1] - box_times[below]))[:, None]
    positions = (1 - share) * poses[below, :3, 3] + share * poses[below + 1, :3, 3]
    first, second = (Rotation.from_matrix(poses[i, :3, :3]) for i in (below, below + 1))
    # Rotations are not extrapolated: a rotation that continues would make the path a circle.
    rotation = np.clip(share, 0, 1) * (first.inv() * second).as_rotvec()
    quats = (first * Rotation.from_rotvec(rotation)).as_quat(scalar_first=True)
    present = np.isclose(times[:, None], box_times[None])
    return np.asarray(quats), positions, np.asarray(present.any(1))
