"""Find the cameras of a rig among the folders of posed photographs, by their file names and poses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from jaxtyping import Float

from ff_jax.data.file_names import natural_key
from ff_jax.data.scene_data import invert_rigid

MIN_SHARED = 0.5  # share of the file names of the smaller folder that both folders of a rig have
MAX_BASELINE, MAX_RELATIVE_BASELINE = 30.0, 3.0  # between cameras: in units, or as a share of their way; either passes
MAX_TURN = 0.2  # radians by which the relative orientation of the cameras of a rig may vary

Array = np.ndarray
Poses = Mapping[str, Float[Array, "4 4"]]


@dataclass(frozen=True)
class Drive:
    """The photographs of one rig, or of one camera.

    Attributes:
        steps: for each time step, the names of its photographs by folder.
        poses: world_from_camera of every photograph, by name.
        front_from_camera: for each folder, the pose of its camera in the frame of the front camera.
        front: folder of the front camera, the one with the most photographs.
    """

    steps: Sequence[Mapping[str, str]]
    poses: Poses
    front_from_camera: Mapping[str, Float[Array, "4 4"]]
    front: str

    def front_pose(self, step: int) -> Float[Array, "4 4"]:
        """Return world_from_camera of the front camera, from another camera where it has no photograph."""
        names = self.steps[step]
        folder = self.front if self.front in names else next(iter(names))
        return self.poses[names[folder]] @ invert_rigid(self.front_from_camera[folder])


def find_drives(poses: Poses) -> list[Drive]:
    """Group the photographs to drives, in natural order of their front cameras.

    A folder is one camera. Folders are cameras of one rig if half of their file names match and the cameras keep
    their places to each other; all others are drives of their own.

    Args:
        poses: world_from_camera of every photograph, by its path.
    """
    folders: dict[str, list[str]] = {}
    for name in sorted(poses, key=natural_key):
        folders.setdefault(str(PurePosixPath(name).parent), []).append(name)
    keyed = {folder: dict(zip(_keys(folder, names), names, strict=True)) for folder, names in folders.items()}
    rigs: dict[str, dict[str, Float[Array, "4 4"]]] = {}  # by front camera: the places of the cameras
    for folder in sorted(keyed, key=lambda folder: -len(keyed[folder])):  # a stable sort
        places = ((front, _place(keyed[front], keyed[folder], poses)) for front in rigs)
        front, place = next(((f, p) for f, p in places if p is not None), (folder, np.eye(4)))
        rigs.setdefault(front, {})[folder] = place
    return [_drive(front, rigs[front], keyed, poses) for front in sorted(rigs, key=natural_key)]


def _drive(
    front: str, places: Mapping[str, Float[Array, "4 4"]], keyed: Mapping[str, Mapping[str, str]], poses: Poses
) -> Drive:
    order = sorted(places, key=natural_key)
    keys = sorted({key for folder in order for key in keyed[folder]}, key=natural_key)
    steps = [{folder: keyed[folder][key] for folder in order if key in keyed[folder]} for key in keys]
    return Drive(steps, poses, places, front)


def _keys(folder: str, names: Sequence[str]) -> list[str]:
    """Make what identifies each photograph of a folder: its stem, without the part that all of them begin with."""
    stems = [PurePosixPath(name).stem for name in names]
    if len(set(stems)) < len(stems):
        return [PurePosixPath(name).name for name in names]
    own = PurePosixPath(folder).name
    shared = len(own) if all(stem.startswith(own) for stem in stems) else 0
    prefixes = {stem[shared:].rstrip("0123456789") for stem in stems}  # of one number at the end
    shared += len(prefixes.pop()) if len(prefixes) == 1 else 0
    return [stem[shared:] or stem for stem in stems]


def _place(front: Mapping[str, str], other: Mapping[str, str], poses: Poses) -> Float[Array, "4 4"] | None:
    """Estimate front_from_camera of two folders; None if they are not cameras of one rig."""
    shared = [key for key in front if key in other]
    if len(shared) < MIN_SHARED * min(len(front), len(other)):
        return None
    world_from_front = np.stack([poses[front[key]] for key in shared])
    relative = invert_rigid(world_from_front) @ np.stack([poses[other[key]] for key in shared])
    center = np.median(relative[:, :3, 3], axis=0)
    distance = np.linalg.norm(relative[:, :3, 3] - center, axis=-1)
    middle = relative[np.argmin(distance)]
    cosines = (np.einsum("nij,ij->n", relative[:, :3, :3], middle[:3, :3]) - 1) / 2
    step = np.linalg.norm(np.diff(world_from_front[:, :3, 3], axis=0), axis=-1)
    # The cameras of a rig may have their own trigger times, so a step of the path is the bound.
    reach = np.median(step) if len(step) else 0.0
    is_rigid = np.median(distance) <= reach + 1e-6 and np.median(cosines) >= np.cos(MAX_TURN)
    # Two drives at one speed keep their distance too, but no vehicle is that large.
    extent = np.linalg.norm(np.ptp(world_from_front[:, :3, 3], axis=0))
    is_near = np.linalg.norm(center) <= max(MAX_BASELINE, MAX_RELATIVE_BASELINE * extent)
    return middle if is_rigid and is_near else None
