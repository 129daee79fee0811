"""Find the number of meters per unit of a log by registering its sparse points with LiDAR sweeps.

A sweep belongs to a time step and is in the frame of the LiDAR, whose place at the vehicle is unknown. The similarity
from the ego frame to the LiDAR, whose scale is sought, is found from many starts by iterated closest points (Besl and
McKay 1992, IEEE PAMI 14(2)) on all sweeps at once. Starts and results are compared by the median distance of the points
from the sweeps as a share of their range: neither very small nor very large scales make that small.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from ff_jax.data.lazy_arrays import read_points
from ff_jax.data.ply_files import ply_points
from ff_jax.data.scene_data import OPENCV_FROM_EGO, SceneData, invert_rigid, transform
from ff_jax.data.similarity import fit_similarity, split_similarity
from ff_jax.runtime.untrusted_files import UnreadableFileError, read_file

SUFFIXES = (".npz", ".ply", ".bin")
MAX_SWEEPS, MAX_POINTS = 8, 1500  # sweeps, and sparse points at each
MIN_POINTS = 100  # sparse points in front of the cameras of all sweeps
MIN_RANGE = 1.0  # meters: nearer returns are the own vehicle
NUM_SCALES, NUM_STARTS, ROUNDS = 49, 6, 40
MAX_RETURNS = 20_000  # of a sweep
MAX_CHANGE = 8.0  # of the scale
CONVERGED = 1e-5  # change of the similarity, relative
TRIMMED = 0.6  # share of the points, those nearest to the sweeps, that a round fits
MAX_ERROR = 0.04  # median distance of the points from the sweeps, as a share of their range
MAX_SPREAD = 0.05  # relative difference of the scales of two halves of the points
MIN_ADVANTAGE = 1.2  # ratio of the errors of the second best scale and the best one
DISTINCT = 0.1  # relative difference from which on two scales are two

Array = np.ndarray


class LidarFit(NamedTuple):
    """The scale that LiDAR gives."""

    scale: float  # meters per unit
    error: float  # median distance of the points from the sweeps, as a share of their range
    sweeps: int


class _Pair(NamedTuple):
    """The sparse points at one time step (ego frame, units), and the sweep (meters, frame of the LiDAR)."""

    points: Float[Array, "N 3"]
    sweep: Float[Array, "M 3"]
    tree: KDTree


def find_sweeps(path: Path, scene: SceneData) -> dict[int, Float[Array, "N 3"]]:
    """Read the sweeps of a log: a folder of files with the names of images, or one file for the first time step.

    Files are .npz with `xyz`, .ply, or .bin of KITTI (x, y, z, intensity in single precision).

    Raises:
        ValueError: there is no sweep, or none has the name of an image.
    """
    if path.is_file():
        return {scene.frames[0].time_index: _read(path)}
    files = {file.stem: file for file in sorted(path.glob("*")) if file.suffix.lower() in SUFFIXES}
    if not files:
        raise ValueError(f"{path}: holds no sweeps ({', '.join(SUFFIXES)}); use ?scale=lidar:FOLDER.")
    steps = {frame.image.path.stem: frame.time_index for frame in reversed(scene.frames) if frame.image.path}
    shared = [stem for stem in files if stem in steps]
    if not shared:
        raise ValueError(f"{path}: none of its {len(files)} sweeps has the name of an image; name them as the images.")
    chosen = {shared[round(i)] for i in np.linspace(0, len(shared) - 1, MAX_SWEEPS)}
    return {steps[stem]: _read(files[stem]) for stem in shared if stem in chosen}


def fit_lidar(scene: SceneData, sweeps: Mapping[int, Float[Array, "N 3"]]) -> LidarFit:
    """Find the scale of a log from sweeps.

    Args:
        scene: with sparse points, in units.
        sweeps: by time index: meters, x forward, y left and z up, turned by a multiple of 90 degrees, or axes of a
            camera.

    Raises:
        ValueError: there are too few points, or they do not determine the scale.
    """
    pairs = _pairs(scene, sweeps)
    count = sum(len(pair.points) for pair in pairs)
    if count < MIN_POINTS:
        raise ValueError(
            f"{scene.name}: {count} sparse points are in front of the cameras of {len(sweeps)} sweeps, too few for "
            "the unit of length; give ?scale= as a number."
        )
    few = [pair._replace(points=pair.points[:400]) for pair in pairs]
    results = sorted((refined(few, start) for start in _starts(pairs)), key=lambda result: result[1])
    matrix, error = refined(pairs, results[0][0])
    scale = split_similarity(matrix)[0]
    first, second = (split_similarity(refined(half, matrix)[0])[0] for half in _halves(pairs))
    spread = abs(np.log(first / second))
    best = results[0][1]
    others = [e for m, e in results if abs(np.log(split_similarity(m)[0] / scale)) > DISTINCT]
    is_distinct = min(others, default=np.inf) > MIN_ADVANTAGE * best
    if error > MAX_ERROR or spread > MAX_SPREAD or not is_distinct:
        raise ValueError(
            f"{scene.name}: the LiDAR does not determine the unit of length (best fit {scale:.3g} m with a median "
            f"distance of {100 * error:.1f} % of the range, {100 * spread:.1f} % between halves"
            f"{'' if is_distinct else ', others fit as well'}); give ?scale= as a number."
        )
    return LidarFit(scale, error, len(pairs))


def _read(path: Path) -> Float[Array, "N 3"]:
    suffix = path.suffix.lower()
    if suffix == ".ply":
        xyz = ply_points(path).xyz
    elif suffix == ".npz":
        xyz = read_points(path)[:, :3].astype(np.float64)
    elif suffix == ".bin":
        data = read_file(path)
        if len(data) % 16:
            raise UnreadableFileError(f"{path}: {len(data)} bytes are not points of 16; use the .bin format of KITTI.")
        xyz = np.frombuffer(data, "<f4").reshape(-1, 4)[:, :3].astype(np.float64)
    else:
        raise UnreadableFileError(f"{path}: is no sweep; use one of {', '.join(SUFFIXES)}.")
    xyz = xyz[np.isfinite(xyz).all(1)]
    xyz = xyz[np.linalg.norm(xyz, axis=1) > MIN_RANGE]
    if len(xyz) < MIN_POINTS:
        raise UnreadableFileError(f"{path}: holds {len(xyz)} points, fewer than {MIN_POINTS}; use another sweep.")
    return xyz


def _pairs(scene: SceneData, sweeps: Mapping[int, Float[Array, "N 3"]]) -> list[_Pair]:
    """Select the sparse points in front of the vehicle at the time of each sweep."""
    pairs, rng = [], np.random.default_rng(0)
    xyz = np.zeros((0, 3)) if scene.points is None else scene.points.xyz.astype(float)
    for index, sweep in sweeps.items():
        local = transform(invert_rigid(scene.world_from_ego[index]), xyz)
        local = local[(local[:, 0] > 0) & (np.abs(local[:, 1]) < local[:, 0])]
        ranges = np.linalg.norm(local, axis=1)
        local = local[ranges < 3 * np.median(ranges)] if len(local) else local
        chosen = local[rng.permutation(len(local))[:MAX_POINTS]]
        thinned = sweep[rng.permutation(len(sweep))[:MAX_RETURNS]]
        pairs.append(_Pair(chosen, thinned, KDTree(thinned)))
    return pairs


def _starts(pairs: Sequence[_Pair]) -> list[Float[Array, "4 4"]]:
    """Choose the best scales and directions of a grid, none next to a better one."""
    ratio = np.median(np.concatenate([np.linalg.norm(p.sweep, axis=1) for p in pairs]))
    ratio /= np.median(np.concatenate([np.linalg.norm(p.points, axis=1) for p in pairs]))
    turns = [Rotation.from_euler("z", 90 * i, degrees=True).as_matrix() for i in range(4)] + [OPENCV_FROM_EGO[:3, :3]]
    few = [pair._replace(points=pair.points[:150]) for pair in pairs[:: max(len(pairs) // 3, 1)]]
    starts = []
    for number, turn in enumerate(turns):
        for place, scale in enumerate(ratio * np.geomspace(1 / 16, 16, NUM_SCALES)):
            matrix = np.eye(4)
            matrix[:3, :3] = scale * turn
            starts.append((_error(few, matrix), number, place, matrix))
    chosen: list[tuple] = []
    for start in sorted(starts, key=lambda start: start[0]):
        if all(start[1] != other[1] or abs(start[2] - other[2]) > 2 for other in chosen):
            chosen.append(start)
    return [matrix for *_, matrix in chosen[:NUM_STARTS]]


def refined(pairs: Sequence[_Pair], matrix: Float[Array, "4 4"]) -> tuple[Float[Array, "4 4"], float]:
    """Iterate closest points from a similarity; return the last one and its error, infinite if the scale runs away."""
    start = np.linalg.det(matrix[:3, :3])
    for _ in range(ROUNDS):
        source, target, relative = [], [], []
        for pair in pairs:
            moved = transform(matrix, pair.points)
            distance, row = pair.tree.query(moved)
            source.append(pair.points)
            target.append(pair.sweep[row])
            relative.append(distance / np.linalg.norm(moved, axis=1))
        order = np.argsort(np.concatenate(relative))
        keep = order[: max(int(TRIMMED * len(order)), 3)]
        before, matrix = matrix, fit_similarity(np.concatenate(source)[keep], np.concatenate(target)[keep])
        if not MAX_CHANGE**-3 < np.linalg.det(matrix[:3, :3]) / start < MAX_CHANGE**3:
            return before, np.inf
        if np.abs(matrix - before).max() < CONVERGED * np.abs(matrix[:3, :3]).max():
            break
    return matrix, _error(pairs, matrix)


def _error(pairs: Sequence[_Pair], matrix: Float[Array, "4 4"]) -> float:
    shares = []
    for pair in pairs:
        moved = transform(matrix, pair.points)
        shares.append(pair.tree.query(moved)[0] / np.maximum(np.linalg.norm(moved, axis=1), 1e-12))
    return float(np.median(np.concatenate(shares)))


def _halves(pairs: Sequence[_Pair]) -> tuple[list[_Pair], list[_Pair]]:
    """Split into the sweeps of even and odd number, or the points of the only sweep."""
    if len(pairs) > 1:
        return list(pairs[::2]), list(pairs[1::2])
    (pair,) = pairs
    return [pair._replace(points=pair.points[::2])], [pair._replace(points=pair.points[1::2])]
