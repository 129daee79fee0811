"""Read a scene of nuScenes: JSON tables in v1.0-*/, files in samples/ and sweeps/, and the map expansion if present.

Time steps are the annotated key frames (2 Hz) or, with `sweeps`, the images of the front camera (12 Hz), with the
record nearest in time of every other sensor. Boxes between key frames are interpolated. Images are rectified; the
principal point is moved by half a pixel, because the calibration has pixel centers at integers. Scans are not
compensated for the motion of the vehicle. The format: https://www.nuscenes.org/nuscenes.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import Rotation, Slerp

from ff_jax.data.formats import nuscenes_map
from ff_jax.data.formats.common import nearest, pinhole, pose, rigid, start_at_vehicle
from ff_jax.data.formats.nuscenes_tables import Record, read_tables
from ff_jax.data.lazy_arrays import ImageFile, Source
from ff_jax.data.paths import inside
from ff_jax.data.scene_data import Box, Frame, LidarSweep, SceneData
from ff_jax.runtime.untrusted_files import read_file

LIDAR, FRONT = "LIDAR_TOP", "CAM_FRONT"
MAX_GAP = {False: 60_000, True: 45_000}  # microseconds between a step and its records, by `sweeps`: half a period

Array = np.ndarray


def load(path: Path, scene: str = "", version: str = "", sweeps: bool = False) -> SceneData:
    """Read one scene of the data set in folder `path`; no image and no scan is decoded.

    Args:
        path: folder that holds v1.0-mini/ or another version, samples/ and sweeps/.
        scene: name of the scene, such as scene-0061; may be empty if there is only one.
        version: name of the folder of tables; may be empty if there is only one.
        sweeps: use all images of the front camera, not only the annotated key frames.

    Raises:
        ValueError: no such scene or version, or a table is missing or broken.
    """
    tables = read_tables(path, version, scene)
    records = {channel: [r for r in all_records if r.key or sweeps] for channel, all_records in tables.records.items()}
    reference = records.get(FRONT if sweeps else LIDAR)
    if not reference:
        raise ValueError(f"{path}: {tables.name} has no records of {FRONT if sweeps else LIDAR}; restore the tables.")
    stamps = np.array([record.time for record in reference], np.int64)
    world_from_ego = np.stack([record.world_from_ego for record in reference])
    entries = sorted(
        ((step, channel, record) for channel in records for step, record in _nearest(records[channel], stamps, sweeps)),
        key=lambda entry: entry[0],
    )
    images = [entry for entry in entries if entry[1].startswith("CAM_")]
    result = SceneData(
        name=tables.name,
        source="nuScenes",
        license="CC BY-NC-SA 4.0 (nuScenes)",
        times=(stamps - stamps[0]) * 1e-6,
        world_from_ego=world_from_ego,
        frames=tuple(_frame(path, i, *entry, int(stamps[0])) for i, entry in enumerate(images)),
        sweeps=tuple(_sweep(path, step, record) for step, channel, record in entries if channel == LIDAR),
        boxes=tuple(box for track, labels in tables.tracks.items() for box in _boxes(track, labels, stamps)),
        lanes=nuscenes_map.load(inside(path, f"maps/expansion/{tables.location}.json"), world_from_ego[:, :3, 3]),
    )
    return start_at_vehicle(result)


def read_scan(path: Path) -> Float32[Array, "N 4"]:
    """Read x, y, z (meters) and intensity in [0, 1] of a .pcd.bin file with rows x, y, z, intensity, ring.

    Raises:
        ValueError: the file is missing or truncated.
    """
    data = read_file(path)
    if len(data) % 20 or not data:
        raise ValueError(f"{path}: has {len(data)} bytes, not five numbers of 4 bytes a point; download it again.")
    return np.frombuffer(data, "<f4").reshape(-1, 5)[:, :4] * np.array([1, 1, 1, 1 / 255], np.float32)


def _nearest(records: list[Record], stamps: Array, sweeps: bool) -> list[tuple[int, Record]]:
    """Find the nearest record of every step, within `MAX_GAP`."""
    times = np.array([record.time for record in records], np.int64)
    if len(times) == 0:
        return []
    indices = nearest(times, stamps)
    close = np.abs(times[indices] - stamps) <= MAX_GAP[sweeps]
    return [(int(step), records[indices[step]]) for step in np.flatnonzero(close)]


def _frame(path: Path, number: int, step: int, channel: str, record: Record, start: int) -> Frame:
    K = np.array(record.intrinsic, float)
    return Frame(
        camera=channel,
        time_index=step,
        time=(record.time - start) * 1e-6,
        K=pinhole(K[0, 0], K[1, 1], K[0, 2] + 0.5, K[1, 2] + 0.5),
        world_from_camera=record.world_from_ego @ record.ego_from_sensor,
        width=record.width,
        height=record.height,
        image=ImageFile(inside(path, record.file)),
        exposure_id=number,
    )


def _sweep(path: Path, step: int, record: Record) -> LidarSweep:
    file = inside(path, record.file)
    return LidarSweep(
        step, record.world_from_ego @ record.ego_from_sensor, Source(str(file), lambda: read_scan(file), file)
    )


def _boxes(track: str, labels: list[dict], stamps: Array) -> list[Box]:
    """Interpolate the boxes of a track at the steps between its first and its last label."""
    times = np.array([label["time"] for label in labels], np.int64)
    steps = np.flatnonzero((stamps >= times[0]) & (stamps <= times[-1]))
    poses = interpolate(
        times - times[0],
        np.array([label["rotation"] for label in labels], float),
        np.array([label["translation"] for label in labels], float),
        stamps[steps] - times[0],
    )
    boxes = []
    for step, world_from_object in zip(steps.tolist(), poses, strict=True):
        label = labels[nearest(times, stamps[step : step + 1])[0]]
        width, length, height = label["size"]
        count = label["num_lidar_pts"] if label["time"] == stamps[step] else -1
        boxes.append(
            Box(track, label["category"], step, world_from_object, np.array([length, width, height], float), count)
        )
    return boxes


def interpolate(
    times: Array, quaternions: Float[Array, "T 4"], translations: Float[Array, "T 3"], queries: Array
) -> Float[Array, "N 4 4"]:
    """Interpolate poses at the times `queries`, between the first and the last of `times` (ascending)."""
    if len(times) == 1:
        return np.repeat(pose(quaternions, translations), len(queries), 0)
    rotations = Slerp(times, Rotation.from_quat(quaternions[:, [1, 2, 3, 0]]))(queries)
    positions = np.stack([np.interp(queries, times, column) for column in translations.T], -1)
    return rigid(rotations.as_matrix(), positions)
