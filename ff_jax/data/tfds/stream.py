"""Stream the images of a log in TFDS for training, shuffled and sharded by host (needs the package grain)."""

import functools
from collections.abc import Sequence
from pathlib import Path

import grain
import numpy as np

from ff_jax.data.loader import load_image
from ff_jax.data.tfds.reader import find_split, frame_of, stored_examples

READ_OPTIONS = grain.ReadOptions(num_threads=4, prefetch_buffer_size=8)  # a decoded image takes 30 MB

Array = np.ndarray


def frame_stream(
    data_dir: Path, log: str = "", *, seed: int = 0, process_index: int = 0, process_count: int = 1
) -> grain.IterDataset:
    """Make an endless stream of the training images of a log, with a new random order every epoch.

    An element has `image` (H, W, 3) float32 in [0, 1], undistorted, `K`, `world_from_camera`, `time_index` and
    `exposure_id`. Its iterator has `get_state` and `set_state` to resume a run. All hosts draw the same order, and each
    takes every `process_count`-th element.

    Args:
        data_dir: folder that holds ff_driving/.
        log: its name; may be empty if there is only one.
        seed: of the order.
        process_index: of this host, see `jax.process_index`.
        process_count: number of hosts.

    Raises:
        ValueError: there is no such log, or it has fewer training images than there are hosts.
    """
    examples = stored_examples(data_dir, "frames", find_split(data_dir, log))
    training = [i for i in range(len(examples)) if examples[i]["split"] == b"train"]
    if not 0 <= process_index < process_count <= len(training):
        counts = f"{process_index=} of {process_count=} with {len(training)} training images"
        raise ValueError(f"{data_dir}: {counts}; use a different index for every host, and at most one host per image.")
    order = grain.MapDataset.source(training).shuffle(seed=seed)[process_index::process_count]
    return order.map(functools.partial(_element, examples)).repeat().to_iter_dataset(READ_OPTIONS)


def _element(examples: Sequence[dict], index: int) -> dict[str, Array | np.int32]:
    frame = frame_of(examples, index, f"frame {index}")
    return {
        "image": load_image(frame),
        "K": frame.K,
        "world_from_camera": frame.world_from_camera,
        "time_index": np.int32(frame.time_index),
        "exposure_id": np.int32(frame.exposure_id),
    }
