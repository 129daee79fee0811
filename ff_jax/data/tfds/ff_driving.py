"""TFDS builder of driving logs: ff_driving/frames, ff_driving/sweeps and ff_driving/log in ArrayRecord files.

Every log is a split with its name. Arrays of float64 are stored as bytes, because TFDS examples hold floats in single
precision. Images keep the bytes of their PNG or JPEG files; computed ones are stored as PNG.
"""

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8
from PIL import Image

from ff_jax.data.lazy_arrays import EncodedImage, ImageFile, MaskFile, Source
from ff_jax.data.scene_data import MASKS, Box, Frame, Lane, LidarSweep, SceneData
from ff_jax.runtime.untrusted_files import read_file

PARTS = ("frames", "sweeps", "log")

Array = np.ndarray


def _numbers(*shape: int | None, dtype: type = np.float64) -> tfds.features.Tensor:
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="zlib" if None in shape else "bytes")


FEATURES = {
    "frames": {
        "camera": tfds.features.Text(),
        "time_index": np.int64,
        "time": _numbers(1),  # seconds
        "K": _numbers(3, 3),
        "world_from_camera": _numbers(4, 4),
        "image": tfds.features.Image(shape=(None, None, 3)),
        "distortion": _numbers(None),  # empty for a pinhole image
        "readout": _numbers(None),  # motion, and whether lines are columns; empty where all lines are read at once
        "exposure_id": np.int64,
        "split": tfds.features.Text(),
        "width": np.int64,
        "height": np.int64,
        **{kind: _numbers(None, dtype=np.uint8) for kind in MASKS},  # bytes of a PNG file; empty for none
    },
    "sweeps": {
        "time_index": np.int64,
        "world_from_lidar": _numbers(4, 4),
        "points": _numbers(None, 4, dtype=np.float32),
        "sensor": tfds.features.Text(),
    },
    "log": {
        **{key: tfds.features.Text() for key in ("name", "source", "license")},
        "times": _numbers(None),
        "world_from_ego": _numbers(None, 4, 4),
        "has_meters": np.int64,
        "world_from_files": _numbers(4, 4),
        "box_track": tfds.features.Sequence(tfds.features.Text()),
        "box_category": tfds.features.Sequence(tfds.features.Text()),
        "box_time_index": _numbers(None, dtype=np.int64),
        "box_pose": _numbers(None, 4, 4),
        "box_size": _numbers(None, 3),
        "box_num_points": _numbers(None, dtype=np.int64),
        "lane_kind": tfds.features.Sequence(tfds.features.Text()),
        "lane_length": _numbers(None, dtype=np.int64),  # points of each lane
        "lane_points": _numbers(None, 3),
        "xyz": _numbers(None, 3),
        "rgb": _numbers(None, 3),
    },
}


class FfDriving(tfds.core.GeneratorBasedBuilder):
    """Builder of driving logs; `build` runs it.

    Args:
        scenes: the logs to store, with names that differ.
        **options: those of every TFDS builder, above all `data_dir` and `config` (one of PARTS).
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Frames, sweeps, boxes, lanes and poses of driving logs."}  # noqa: RUF012
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=part) for part in PARTS]  # noqa: RUF012

    # Nothing is downloaded, so there is no file of checksums (the search for one needs another package).
    code_path = None

    def __init__(self, *, scenes: Sequence[SceneData] = (), **options: Any):
        self.scenes = tuple(scenes)
        super().__init__(file_format="array_record", **options)

    @property
    def _part(self) -> str:
        return self.builder_config.name if self.builder_config else ""

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(FEATURES[self._part])
        # Frames stay in the order of the log; `stream.py` shuffles them.
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        return {split_name(scene.name): self._generate_examples(scene) for scene in self.scenes}

    def _generate_examples(self, scene: SceneData) -> Iterator[tuple[int, dict]]:
        if self._part == "log":
            yield 0, log_example(scene)
        elif self._part == "frames":
            yield from enumerate(map(frame_example, scene.frames))
        else:
            yield from enumerate(map(sweep_example, scene.sweeps))


def build(scenes: Sequence[SceneData], data_dir: Path) -> None:
    """Store logs in `data_dir`, which must not hold any yet.

    Raises:
        ValueError: there are no logs, two have the same name, or the folder holds logs already.
    """
    names = [split_name(scene.name) for scene in scenes]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{len(names)} logs named {names}: expected at least one, with different names.")
    if (data_dir / "ff_driving").exists():
        raise ValueError(f"{data_dir}/ff_driving exists; choose another folder or remove it.")
    for part in PARTS:
        # TFDS cannot store a split without examples.
        nonempty = [scene for scene in scenes if part != "sweeps" or scene.sweeps]
        if nonempty:
            FfDriving(scenes=nonempty, config=part, data_dir=str(data_dir)).download_and_prepare()


def split_name(name: str) -> str:
    """Make the split name of a log: letters, digits and underscores only."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def frame_example(frame: Frame) -> dict:
    """Build the example of an image."""
    masks = {kind: encode(frame.masks[kind]) if kind in frame.masks else b"" for kind in MASKS}
    return {
        "camera": frame.camera,
        "time_index": frame.time_index,
        "time": np.array([frame.time], float),
        "K": frame.K.astype(float),
        "world_from_camera": frame.world_from_camera.astype(float),
        "image": io.BytesIO(encode(frame.image)),
        "distortion": np.zeros(0) if frame.distortion is None else frame.distortion.astype(float),
        "readout": np.zeros(0) if frame.readout is None else np.append(frame.readout.motion, frame.readout.columns),
        "exposure_id": frame.exposure_id,
        "split": frame.split,
        "width": frame.width,
        "height": frame.height,
        **{kind: np.frombuffer(data, np.uint8) for kind, data in masks.items()},
    }


def sweep_example(sweep: LidarSweep) -> dict:
    """Build the example of a LiDAR sweep."""
    return {
        "time_index": sweep.time_index,
        "world_from_lidar": sweep.world_from_lidar.astype(float),
        "points": np.column_stack(sweep.load()).astype(np.float32),
        "sensor": sweep.sensor,
    }


def log_example(scene: SceneData) -> dict:
    """Build the example of a log without its images and sweeps."""
    head = {key: getattr(scene, key) for key in ("name", "source", "license")}
    head |= {"times": scene.times.astype(float), "world_from_ego": scene.world_from_ego.astype(float)}
    head |= {"has_meters": int(scene.has_meters), "world_from_files": scene.world_from_files.astype(float)}
    xyz = rgb = np.zeros((0, 3))
    if scene.points is not None:
        xyz = scene.points.xyz.astype(float)
        rgb = rgb if scene.points.rgb is None else scene.points.rgb.astype(float)
    return head | _boxes(scene.boxes) | _lanes(scene.lanes) | {"xyz": xyz, "rgb": rgb}


def encode(source: Source) -> bytes:
    """Read the bytes of the image file of a source, or encode its computed array as PNG."""
    if isinstance(source, EncodedImage):
        return source.read()
    if isinstance(source, ImageFile | MaskFile):
        return read_file(source.path)
    buffer = io.BytesIO()
    Image.fromarray(_bytes(source)).save(buffer, "png")
    return buffer.getvalue()


def _bytes(source: Source) -> UInt8[Array, "..."]:
    return np.clip(np.rint(source.load() * 255), 0, 255).astype(np.uint8)


def _boxes(boxes: tuple[Box, ...]) -> dict:
    return {
        "box_track": [box.track_id for box in boxes],
        "box_category": [box.category for box in boxes],
        "box_time_index": np.array([box.time_index for box in boxes], np.int64),
        "box_pose": np.array([box.world_from_object for box in boxes], float).reshape(-1, 4, 4),
        "box_size": np.array([box.size for box in boxes], float).reshape(-1, 3),
        "box_num_points": np.array([box.num_points for box in boxes], np.int64),
    }


def _lanes(lanes: tuple[Lane, ...]) -> dict:
    return {
        "lane_kind": [lane.kind for lane in lanes],
        "lane_length": np.array([len(lane.points) for lane in lanes], np.int64),
        "lane_points": np.concatenate([np.zeros((0, 3)), *(lane.points for lane in lanes)]),
    }
