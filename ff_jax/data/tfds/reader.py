"""Read driving logs from TFDS as scene data."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float32

from ff_jax.data.lazy_arrays import EncodedImage, Source, decode_image
from ff_jax.data.scene_data import MASKS, Box, Frame, Lane, LidarSweep, Readout, SceneData, SparsePoints
from ff_jax.data.tfds.ff_driving import FfDriving, split_name

Array = np.ndarray


def log_names(data_dir: Path) -> list[str]:
    """List the names of the splits, one per log in `data_dir`.

    Raises:
        ValueError: there are no logs.
    """
    return sorted(_builder(data_dir, "log").info.splits)


def read_log(data_dir: Path, log: str = "") -> SceneData:
    """Read a log; images and sweeps are read on load.

    Args:
        data_dir: folder that holds ff_driving/.
        log: its name; may be empty if there is only one.

    Raises:
        ValueError: there is no such log.
    """
    name = find_split(data_dir, log)
    (head,) = stored_examples(data_dir, "log", name)
    frames, sweeps = stored_examples(data_dir, "frames", name), stored_examples(data_dir, "sweeps", name)
    spelling = "license" if "license" in head else "licence"  # the spelling of earlier releases
    lanes = np.split(head["lane_points"], np.cumsum(head["lane_length"])[:-1]) if len(head["lane_kind"]) else []
    return SceneData(
        name=head["name"].decode(),
        source=head["source"].decode(),
        license=head[spelling].decode(),
        times=head["times"],
        world_from_ego=head["world_from_ego"],
        frames=tuple(frame_of(frames, i, f"{data_dir}: frame {i} of {name}") for i in range(len(frames))),
        sweeps=tuple(_sweep(sweeps, i, f"{data_dir}: sweep {i} of {name}") for i in range(len(sweeps))),
        boxes=tuple(_box(head, i) for i in range(len(head["box_track"]))),
        lanes=tuple(Lane(kind.decode(), points) for kind, points in zip(head["lane_kind"], lanes, strict=True)),
        points=SparsePoints(head["xyz"], head["rgb"] if len(head["rgb"]) else None) if len(head["xyz"]) else None,
        has_meters=bool(head.get("has_meters", True)),  # data sets of earlier releases lack it
        world_from_files=head.get("world_from_files", np.eye(4)),
    )


def frame_of(examples: Sequence[dict], index: int, name: str) -> Frame:
    """Build the frame of example `index`; `name` identifies it in messages."""
    example = examples[index]
    return Frame(
        camera=example["camera"].decode(),
        time_index=int(example["time_index"]),
        time=float(example["time"][0]),
        K=example["K"],
        world_from_camera=example["world_from_camera"],
        width=int(example["width"]),
        height=int(example["height"]),
        image=EncodedImage(name, lambda: examples[index]["image"]),
        distortion=example["distortion"] if len(example["distortion"]) else None,
        exposure_id=int(example["exposure_id"]),
        split=example["split"].decode(),
        masks={kind: _mask(examples, index, kind, name) for kind in MASKS if len(example[kind])},
        readout=Readout(example["readout"][:6], bool(example["readout"][6])) if len(example["readout"]) else None,
    )


def _mask(examples: Sequence[dict], index: int, kind: str, frame: str) -> Source:
    name = f"{frame}, {kind} mask"

    def compute() -> Float32[Array, "H W"]:
        return decode_image(examples[index][kind].tobytes(), name)[..., 0]

    return Source(name, compute)


def _sweep(examples: Sequence[dict], index: int, name: str) -> LidarSweep:
    example = examples[index]
    source = Source(name, lambda: examples[index]["points"])
    return LidarSweep(int(example["time_index"]), example["world_from_lidar"], source, example["sensor"].decode())


def _box(head: dict, index: int) -> Box:
    return Box(
        track_id=head["box_track"][index].decode(),
        category=head["box_category"][index].decode(),
        time_index=int(head["box_time_index"][index]),
        world_from_object=head["box_pose"][index],
        size=head["box_size"][index],
        num_points=int(head["box_num_points"][index]),
    )


def find_split(data_dir: Path, log: str) -> str:
    """Find the split of a log, whose name may be empty if there is only one.

    Raises:
        ValueError: there is no such log.
    """
    names = log_names(data_dir)
    split = split_name(log) if log else names[0]
    if split not in names or (not log and len(names) > 1):
        raise ValueError(f"{data_dir}: invalid {log=}; expected one of {', '.join(names)}.")
    return split


def stored_examples(data_dir: Path, part: str, log: str) -> Sequence[dict]:
    """Open the examples of a part (one of PARTS) of a split, with images as bytes; empty if the log lacks this part."""
    if part == "sweeps" and not (data_dir / "ff_driving/sweeps").is_dir():
        return ()
    builder = _builder(data_dir, part)
    if log not in builder.info.splits:
        return ()
    decoders = {"image": tfds.decode.SkipDecoding()} if part == "frames" else None
    return builder.as_data_source(split=log, decoders=decoders)  # pyright: ignore[reportCallIssue] (a logging decorator)


def _builder(data_dir: Path, part: str) -> tfds.core.DatasetBuilder:
    path = data_dir / "ff_driving" / part / str(FfDriving.VERSION)
    if not (path / "dataset_info.json").is_file():
        raise ValueError(f"{path} holds no driving logs; use the folder above ff_driving/, or build it first.")
    return tfds.builder_from_directory(str(path))
