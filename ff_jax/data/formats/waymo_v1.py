"""Read a segment of the Waymo Open Dataset, Perception, version 1: one TFRecord file of `Frame` messages.

`waymo_parts.py` describes the poses of images, LiDAR and boxes.
"""

import functools
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ff_jax.data.formats import tfrecord, waymo_lidar
from ff_jax.data.formats.common import check_range, start_at_vehicle
from ff_jax.data.formats.protobuf_wire import decode
from ff_jax.data.formats.waymo_messages import FRAME
from ff_jax.data.formats.waymo_parts import CAMERAS, LASERS, LICENSE, camera_frame, label_box, laser_points, matrix
from ff_jax.data.lazy_arrays import EncodedImage, Source
from ff_jax.data.scene_data import Frame, Lane, LidarSweep, SceneData
from ff_jax.runtime.untrusted_files import reason

MIN_CORNERS = 3  # of an outline with an area

Array = np.ndarray


def load(path: Path, frames: tuple[int, int] | None = None) -> SceneData:
    """Read the segment in the TFRecord file `path`; images and range images are decoded on load.

    The checksum of every record is verified, at about 200 MB/s.

    Args:
        path: a file named segment-*.tfrecord.
        frames: first time step and the one after the last; None reads all.

    Raises:
        ValueError: the file is missing, damaged, truncated or of another type, or lacks these time steps.
    """
    spans = tfrecord.index_records(path)
    first, stop = frames or (0, len(spans))
    check_range((first, stop), len(spans), str(path))
    try:
        messages = [_decode(path, span) for span in spans[first:stop]]
        # Only the first frame of a segment has the map.
        head = messages[0] if first == 0 else _decode(path, spans[0])
        return start_at_vehicle(_scene(path, spans[first:stop], messages, head))
    except (KeyError, TypeError, IndexError, ValueError) as error:
        if str(path) in str(error):
            raise
        raise ValueError(
            f"{path}: holds no Waymo Perception frames ({reason(error)}); use a segment-*.tfrecord."
        ) from error


def _decode(path: Path, span: tuple[int, int]) -> dict:
    return decode(tfrecord.read_record(path, *span), FRAME)


def _scene(path: Path, spans: list[tuple[int, int]], messages: list[dict], head: dict) -> SceneData:
    start = messages[0]["micros"] * 1e-6
    steps = list(enumerate(zip(spans, messages, strict=True)))
    calibration = messages[0]["context"]
    cameras = {camera["name"]: camera for camera in calibration["cameras"]}
    return SceneData(
        name=calibration["name"],
        source="Waymo Open Dataset, Perception, version 1",
        license=LICENSE,
        times=np.array([message["micros"] * 1e-6 - start for message in messages]),
        world_from_ego=np.stack([matrix(message["pose"]) for message in messages]),
        frames=tuple(
            _frame(path, span[0], index, image, cameras[image["name"]], start)
            for index, (span, message) in steps
            for image in sorted(message["images"], key=lambda image: image["name"])
        ),
        sweeps=tuple(sweep for index, (span, message) in steps for sweep in _sweeps(path, span[0], index, message)),
        boxes=tuple(label_box(index, label, matrix(m["pose"])) for index, (_, m) in steps for label in m["labels"]),
        lanes=tuple(_lanes(head)),
    )


def _frame(path: Path, offset: int, index: int, image: dict, camera: dict, start: float) -> Frame:
    begin, end = image["jpeg"]
    read = functools.partial(tfrecord.read_span, path, offset + begin, end - begin)
    source = EncodedImage(f"{path}: image {CAMERAS[camera['name']]} of time step {index}", read)
    return camera_frame(index, image, camera, start, source)


def _sweeps(path: Path, offset: int, index: int, message: dict) -> list[LidarSweep]:
    world_from_vehicle, sweeps = matrix(message["pose"]), []
    lasers = {laser["name"]: laser for laser in message["lasers"] if laser["first"] and laser["first"]["ranges"]}
    for calibration in message["context"]["lasers"]:
        if calibration["name"] in lasers:
            sensor, laser = LASERS[calibration["name"]], lasers[calibration["name"]]
            read = functools.partial(_points, path, offset, laser, calibration, world_from_vehicle)
            source = Source(f"{path}: LiDAR {sensor} of time step {index}", read)
            sweeps.append(LidarSweep(index, world_from_vehicle @ matrix(calibration["extrinsic"]), source, sensor))
    return sweeps


def _points(
    path: Path, offset: int, laser: dict, calibration: dict, world_from_vehicle: Float[Array, "4 4"]
) -> Float[Array, "N 4"]:
    """Read the points of both returns of a laser; the second one has the pixel poses of the first."""

    def unpack(span: tuple[int, int]) -> Float[Array, "H W C"]:
        return waymo_lidar.unpack_matrix(tfrecord.read_span(path, offset + span[0], span[1] - span[0]), str(path))

    poses = unpack(laser["first"]["poses"]) if laser["first"]["poses"] else None
    images = [unpack(echo["ranges"]) for echo in (laser["first"], laser["second"]) if echo and echo["ranges"]]
    return laser_points(images, poses, calibration, world_from_vehicle)


def _lanes(head: dict) -> list[Lane]:
    """Read the map; the offset converts from the world of the poses to that of the map."""
    offset, lanes = _xyz(head["map_offset"]) if head["map_offset"] else np.zeros(3), []
    for feature in head["features"]:
        for kind in ("lane_line", "road_edge", "crosswalk"):
            points = [_xyz(point) for point in feature[kind]["points"]] if feature[kind] else []
            if kind == "crosswalk" and len(points) >= MIN_CORNERS:
                points.append(points[0])
            if len(points) > 1:
                lanes.append(Lane(kind, np.stack(points) - offset))
    return lanes


def _xyz(point: dict) -> Float[Array, "3"]:
    return np.array([point[key] or 0.0 for key in "xyz"])
