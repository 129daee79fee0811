"""Training batches on the device, loaded from the frames of a recording."""

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from ff_jax.data.boxes import actor_region
from ff_jax.data.loader import camera_of, load_image, load_mask
from ff_jax.data.points.lidar import lidar_depth
from ff_jax.data.recording import Recording
from ff_jax.data.scene_data import Frame, SceneData
from ff_jax.render.trajectories import shift_laterally, tilt_upwards
from ff_jax.scene import View
from ff_jax.scene.exposure import ExposureBlend
from ff_jax.train.batch import Batch, tree_bytes

CACHE_BYTES = 4 << 30  # of batches on the device; docs/scene_contract.md gives the size of a batch
PREFETCH = 4  # batches that threads load while the device trains


@dataclass
class TrainBatches:
    """The recorded frames as batches; the most recently used ones stay on the device, up to `cache_bytes`.

    Memory does not grow with the log: the host holds only the batches that are being loaded, at most `PREFETCH` + 1.

    Attributes:
        recording: the frames.
        cache_bytes: bound on the device cache.
    """

    recording: Recording
    cache_bytes: int = CACHE_BYTES
    _cache: OrderedDict[int, Batch] = field(default_factory=OrderedDict)
    _pending: dict[int, Future[Batch]] = field(default_factory=dict)
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(PREFETCH))

    def __len__(self) -> int:
        """Return the number of recorded frames."""
        return len(self.recording.frames)

    @property
    def is_cached(self) -> bool:
        """Return whether all frames are on the device."""
        return len(self._cache) == len(self)

    def prefetch(self, indices: Sequence[int]) -> None:
        """Start to load these frames, and cancel what was requested before and is not among them."""
        missing = [index for index in dict.fromkeys(indices) if index not in self._cache]
        for index in set(self._pending) - set(missing):
            self._pending.pop(index).cancel()
        for index in missing:
            if index not in self._pending:
                self._pending[index] = self._threads.submit(self._load, index)

    def batch(self, index: int) -> Batch:
        """Return frame `index` as a batch on the device."""
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        pending = self._pending.pop(index, None)
        batch = jax.device_put(self._load(index) if pending is None else pending.result())
        self._cache[index] = batch
        while len(self._cache) > 1 and sum(map(tree_bytes, self._cache.values())) > self.cache_bytes:
            self._cache.popitem(last=False)
        return batch

    def _load(self, index: int) -> Batch:
        recording = self.recording
        log, frame = recording.log, recording.padded_frames[index]
        has_depth = recording.sweep_at(frame) is not None
        depth = lidar_depth(log, frame) if has_depth else np.zeros((frame.height, frame.width), np.float32)
        modeled = actor_region(log, frame, recording.actors)
        moving = load_mask(frame, "dynamic")
        arrays: dict[str, Any] = {  # on the host: `batch` moves them to the device
            "image": load_image(frame),
            "weight": load_mask(frame, "valid") * (1 - moving * ~modeled),
            "view": view_of(frame, frame.exposure_id, index, recording.cameras.index(frame.camera)),
            "sky": load_mask(frame, "sky") > 0.5,
            "sky_known": np.bool_("sky" in frame.masks),
            "lidar": depth,
            "novel": np.bool_(False),
            "dynamic": modeled & (moving > 0.5) if "dynamic" in frame.masks else modeled,
        }
        return Batch(**arrays)


def view_of(frame: Frame, exposure: int | ExposureBlend, row: int = -1, rig: int = -1) -> View:
    """Make the view of a frame; `row` and `rig` are -1 for one without optimized corrections."""

    def number(value: int) -> jax.Array:
        return jax.device_put(np.int32(value))

    blend = exposure if isinstance(exposure, ExposureBlend) else ExposureBlend(exposure, exposure, 0.0)
    return View(
        camera=camera_of(frame),
        exposure=number(blend.before),
        frame=number(row),
        rig=number(rig),
        time=jax.device_put(np.float32(frame.time)),
        exposure_after=number(blend.after),
        share_after=jax.device_put(np.float32(blend.share)),
    )


def shifted_frame(frame: Frame, log: SceneData, shift: float) -> Frame:
    """Move the camera of a recorded frame `shift` meters to the left; its image and masks do not belong to the result.

    Its readout is dropped: the moved camera has a global shutter.
    """
    pose = shift_laterally(frame.world_from_camera, log.world_from_ego[frame.time_index], shift)
    return replace(frame, world_from_camera=np.asarray(pose), readout=None)


def view_offset(log: SceneData, time_index: int, shift: float) -> jax.Array | None:
    """Compute the offset of a camera that is `shift` meters to the left of the recorded one; None for the latter."""
    return jax.device_put(np.float32(shift * log.world_from_ego[time_index][:3, 1])) if shift else None


def shifted_view(frame: Frame, log: SceneData, shift: float, tilt: float = 0.0) -> View:
    """Make the view of a recorded camera moved `shift` meters to the left and tilted upwards by `tilt` radians."""
    moved = shifted_frame(frame, log, shift)
    view = view_of(replace(moved, world_from_camera=tilt_upwards(moved.world_from_camera, tilt)), frame.exposure_id)
    return view._replace(offset=view_offset(log, frame.time_index, shift))


def frame_at(seed: int, step: int, count: int) -> int:
    """Select one of `count` frames for a step: a new permutation per epoch, a pure function of its inputs."""
    epoch, place = divmod(step, count)
    return int(np.random.default_rng([seed, epoch]).permutation(count)[place])


def scene_radius(world_from_camera: Float[np.ndarray, "F 4 4"]) -> float:
    """Measure the extent of the camera path in meters: 1.1 times the largest distance from its center."""
    centers = world_from_camera[:, :3, 3]
    return max(1.1 * float(np.linalg.norm(centers - centers.mean(0), axis=1).max()), 1.0)
