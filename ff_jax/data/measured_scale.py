"""Find the number of meters per unit of a log from positions or LiDAR sweeps that were measured beside it."""

from pathlib import Path

import numpy as np

from ff_jax.data.gps import Pairs, positions_from_file, positions_from_images, positions_from_table
from ff_jax.data.lidar_scale import find_sweeps, fit_lidar
from ff_jax.data.scene_data import SceneData
from ff_jax.data.similarity import residuals, robust_similarity, split_similarity

MEASURED = ("gps", "positions", "lidar")
LIDAR = "lidar"  # folder of the sweeps of a log
MIN_IMAGES = 4  # with positions
MIN_WAY = {"gps": 20.0, "positions": 1.0}  # meters: satellites are wrong by meters, and the same way for a while
NOISE = {"gps": 0.5, "positions": 0.01}  # meters: smaller residuals are luck
MAX_UNCERTAINTY = 0.05  # of the scale, relative
MIN_GOOD = 0.5  # share of the positions that must agree


def measured_scale(scene: SceneData, kind: str, path: Path | None) -> tuple[float, str]:
    """Find the number of meters per unit, and say in words how.

    Args:
        scene: the log, in units.
        kind: one of MEASURED.
        path: of the measurement; None for the tags of the images.

    Raises:
        ValueError: the measurement does not determine it.
    """
    if kind == "lidar" and path is not None:
        fit = fit_lidar(scene, find_sweeps(path, scene))
        return fit.scale, f"{fit.sweeps} LiDAR sweeps, median distance {100 * fit.error:.1f} % of the range"
    if path is None:
        return _scale_of_positions(scene, kind, positions_from_images(scene.frames), "EXIF tags")
    read = positions_from_table if kind == "positions" else positions_from_file
    return _scale_of_positions(scene, kind, read(path, scene.frames), path.name)


def _scale_of_positions(scene: SceneData, kind: str, pairs: Pairs, origin: str) -> tuple[float, str]:
    """Fit the centers of the cameras to measured positions."""
    numbers, positions = pairs
    where = f"{scene.name}: {origin}"
    if len(numbers) < MIN_IMAGES:
        raise ValueError(
            f"{where}: {len(numbers)} of {len(scene.frames)} images have positions, fewer than {MIN_IMAGES}; give "
            "?scale= as a number or as height:METERS."
        )
    centers = np.array([scene.frames[number].world_from_camera[:3, 3] for number in numbers])
    if np.ptp(centers, axis=0).max() == 0:
        raise ValueError(f"{where}: the cameras do not move; give ?scale= as a number or as height:METERS.")
    matrix, good = robust_similarity(centers, positions, np.random.default_rng(0))
    way = float(np.linalg.norm(np.ptp(positions[good], axis=0))) if good.any() else 0.0
    error = (
        float(np.sqrt(np.square(residuals(matrix, centers[good], positions[good])).mean())) if good.any() else np.inf
    )
    # Neighboring fixes share their errors, so more than a dozen add nothing.
    distinct = min(len(np.unique(positions[good].round(2), axis=0)), 12)
    uncertainty = 2 * max(error, NOISE[kind]) / max(way, 1e-9) / np.sqrt(max(distinct, 1))
    if way < MIN_WAY[kind] or uncertainty > MAX_UNCERTAINTY or good.mean() < MIN_GOOD:
        raise ValueError(
            f"{where}: positions of {good.sum()} of {len(numbers)} images agree on a way of {way:.1f} m with a "
            f"residual of {error:.2f} m, which does not determine the unit of length; give ?scale= as a number or as "
            "height:METERS."
        )
    count = f"{good.sum()} of {len(scene.frames)} images"
    scale = split_similarity(matrix)[0]
    return scale, f"positions of {count} from {origin}, residual {error:.2g} m on a way of {way:.0f} m"
