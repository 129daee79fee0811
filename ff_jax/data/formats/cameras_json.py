"""Read small excerpts of public logs: a folder with one `cameras.json`, images and point files.

There are three kinds: a KITTI color stereo pair ("kitti_stereo"), KITTI raw with LiDAR ("kitti_lidar") and a DGP/DDAD
scene with six cameras, LiDAR and boxes ("dgp"). None has ego poses, so the ego frame is at the front camera. Their
calibrations have pixel centers at integers (like OpenCV), so the principal point is moved by half a pixel.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ff_jax.data.formats.dgp import DGP_CATEGORIES
from ff_jax.data.lazy_arrays import ImageFile, Source, read_object
from ff_jax.data.paths import inside
from ff_jax.data.scene_data import Box, Frame, LidarSweep, SceneData, SparsePoints, ego_from_front_camera
from ff_jax.runtime.untrusted_files import read_npz, reason

KINDS = ("kitti_stereo", "kitti_lidar", "dgp")
KITTI_PERIOD = 0.1  # seconds; the excerpt has no time stamps, and KITTI raw is 10 Hz
DGP_FRONT = "CAMERA_01"


def load(path: Path, kind: str | None = None) -> SceneData:
    """Read the log in folder `path`; no image and no point is decoded.

    Args:
        path: folder that holds cameras.json.
        kind: one of KINDS; None detects it from the content.

    Raises:
        ValueError: cameras.json is missing or broken, or the kind is unknown.
    """
    index = read_object(path / "cameras.json", "frames")
    kind = kind or detect(index, path)
    if kind not in KINDS:
        raise ValueError(f"{path}: invalid {kind=}: expected one of {', '.join(KINDS)}.")
    readers = {"kitti_stereo": _kitti_stereo, "kitti_lidar": _kitti_lidar, "dgp": _dgp}
    try:
        return readers[kind](path, index)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"{path}/cameras.json is not of kind {kind!r} ({reason(repr(error))}); use another kind."
        ) from error


def detect(index: dict, path: Path) -> str:
    """Detect the kind of log from the parsed cameras.json of folder `path`.

    Raises:
        ValueError: no kind matches.
    """
    if "baseline_m" in index:
        return "kitti_stereo"
    if "cam_from_lidar" in index:
        return "kitti_lidar"
    if "boxes" in index:
        return "dgp"
    raise ValueError(
        f"{path}/cameras.json has none of baseline_m, cam_from_lidar and boxes, so its kind is unknown; "
        f"use kind= one of {', '.join(KINDS)}."
    )


def _kitti_stereo(path: Path, index: dict) -> SceneData:
    """Read left frames for training and right frames for testing, a lateral shift of -baseline meters."""
    records = sorted(index["frames"], key=lambda record: (record["frame"], record["cam"]))
    left = [record for record in records if record["cam"] == "left"]
    frames = tuple(
        # Both cameras are synchronized, so the exposure of the left image is valid for the right one.
        _frame(path, r, r["frame"], r["time"], r["frame"], "train" if r["cam"] == "left" else "test")
        for r in records
    )
    # stereo_points.npz is not used: it was triangulated with the test camera.
    points = _points(path / "sfm_points.npz")
    return _scene(path, index, "stereo pair", left, [r["time"] for r in left], frames, points=points)


def _kitti_lidar(path: Path, index: dict) -> SceneData:
    records = sorted(index["frames"], key=lambda record: record["frame"])
    times = [KITTI_PERIOD * record["frame"] for record in records]
    frames = tuple(_frame(path, r, i, times[i], i, "train") for i, r in enumerate(records))
    archive = path / "lidar_fov_int16_5mm.npz"
    sweeps = tuple(
        LidarSweep(i, np.array(r["l2w"], float), _archived(archive, f"xyz_{r['frame']:03d}", 0.005), "velodyne")
        for i, r in enumerate(records)
    )
    points = _points(path / "sfm_points.npz")
    return _scene(path, index, "camera with LiDAR", records, times, frames, sweeps=sweeps, points=points)


def _dgp(path: Path, index: dict) -> SceneData:
    records = sorted(index["frames"], key=lambda record: (record["frame"], record["cam"]))
    start = min(datetime.fromisoformat(record["time"]) for record in records)
    seconds = [(datetime.fromisoformat(record["time"]) - start).total_seconds() for record in records]
    frames = tuple(
        _frame(path, r, r["frame"], t, i, "train") for i, (r, t) in enumerate(zip(records, seconds, strict=True))
    )
    front = [(r, t) for r, t in zip(records, seconds, strict=True) if r["cam"] == DGP_FRONT]
    archive = path / "lidar.npz"
    poses = read_npz(archive)
    sweeps = tuple(
        LidarSweep(r["frame"], poses[f"l2w_{r['frame']}"], _archived(archive, f"xyzi_{r['frame']}", 1.0))
        for r, _ in front
    )
    boxes = tuple(_dgp_box(record) for record in index["boxes"])
    front_records, times = [r for r, _ in front], [t for _, t in front]
    return _scene(path, index, "DGP scene", front_records, times, frames, sweeps=sweeps, boxes=boxes)


def _dgp_box(record: dict) -> Box:
    pose, size = np.array(record["o2w"], float), np.array(record["lwh"], float)
    category = DGP_CATEGORIES.get(record["cls"], "other")
    return Box(str(record["track"]), category, record["frame"], pose, size, record["num_points"])


def _frame(path: Path, record: dict, time_index: int, time: float, exposure_id: int, split: str) -> Frame:
    K = np.array(record["K"], float)
    K[:2, 2] += 0.5
    return Frame(
        camera=record["cam"],
        time_index=time_index,
        time=float(time),
        K=K,
        world_from_camera=np.array(record["c2w"], float),
        width=record["w"],
        height=record["h"],
        image=ImageFile(inside(path, record["file"])),
        exposure_id=exposure_id,
        split=split,
    )


def _scene(path: Path, index: dict, kind: str, front: list, times: list, frames: tuple, **fields: Any) -> SceneData:
    """Build the scene with the ego frame at the front camera, whose records are `front`.

    Its source and license are those that cameras.json states.
    """
    source = str(index.get("source") or f"{kind} of cameras.json")
    license = str(index.get("license") or index.get("licence") or "not stated in cameras.json; see the files beside it")
    poses = ego_from_front_camera(np.array([record["c2w"] for record in front], float))
    return SceneData(path.name, source, license, np.array(times, float), poses, frames, **fields)


def _points(file: Path) -> SparsePoints | None:
    """Read the sparse points, if there are any: points are optional."""
    return SparsePoints(read_npz(file)["xyz"]) if file.is_file() else None


def _archived(archive: Path, key: str, scale: float) -> Source:
    """Make the source of (N, 4) points from one array, (N, 3) or (N, 4), of an .npz file."""

    def compute() -> Float[np.ndarray, "N 4"]:
        arrays = read_npz(archive, [key])
        if key not in arrays or arrays[key].ndim != 2 or arrays[key].shape[1] not in (3, 4):
            raise ValueError(f"{archive}: has no array {key!r} of shape (N, 3) or (N, 4); restore the file.")
        points = arrays[key].astype(np.float32)
        points[:, :3] *= np.float32(scale)
        return points if points.shape[1] == 4 else np.pad(points, ((0, 0), (0, 1)))

    return Source(f"{archive}:{key}", compute)
