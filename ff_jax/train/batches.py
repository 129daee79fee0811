"""From a driving log to training batches on the device."""

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import jax
import numpy as np
from jaxtyping import Bool, Float

from ff_jax.data.boxes import project_boxes
from ff_jax.data.loader import Loader, camera_of
from ff_jax.data.points.initial import lidar_depth
from ff_jax.data.scene_data import Frame, SceneData, Sweep, boxes_at
from ff_jax.scene.exposure import Between
from ff_jax.scene.scene import View
from ff_jax.train.step import Batch, tree_bytes

KEPT_BYTES = 4 << 30  # of batches on the device; docs/scene_contract.md says what a batch takes
AHEAD = 4  # batches that threads load while the device trains
MARGIN = 3  # pixels around a projected box: shadows' edges, and boxes that are a little off


@dataclass
class Feed:
    """The frames of a log as batches; the last ones used stay on the device, up to `device_bytes`.

    Memory does not grow with the log: the host holds the batches that are being loaded, at most `AHEAD` + 1.

    Attributes:
        scene: the log; its `times` and ego poses cover all frames.
        frames: the frames that are fed, in order; their place is their pose-correction row.
        use_lidar: attach LiDAR depth images where the log has sweeps.
        actors: tracks that the scene models; other things that move are left out of training.
        device_bytes: bound on what is kept on the device.
    """

    scene: SceneData
    frames: tuple[Frame, ...]
    use_lidar: bool = True
    actors: tuple[str, ...] = ()
    device_bytes: int = KEPT_BYTES
    loader: Loader = field(default_factory=lambda: Loader(0))
    _kept: OrderedDict[int, Batch] = field(default_factory=OrderedDict)
    _coming: dict[int, Future[Batch]] = field(default_factory=dict)
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(AHEAD))

    def __post_init__(self):
        """Check that all frames share one image size (shapes are static in a run)."""
        sizes = sorted({(frame.width, frame.height) for frame in self.frames})
        if len(sizes) > 1:
            raise ValueError(
                f"scene {self.scene.name!r} has images of {sizes[0]} and {sizes[1]} pixels: train on one size "
                "(select cameras, or scale to one width)."
            )

    @property
    def size(self) -> tuple[int, int]:
        """Return (width, height) of the images in pixels."""
        return self.frames[0].width, self.frames[0].height

    @property
    def cameras(self) -> tuple[str, ...]:
        """Return the names of the physical cameras; their place is their intrinsics row."""
        return tuple(dict.fromkeys(frame.camera for frame in self.scene.frames))

    @property
    def is_kept(self) -> bool:
        """Return whether all frames are on the device."""
        return len(self._kept) == len(self.frames)

    def expect(self, indices: Sequence[int]) -> None:
        """Begin to load the frames that `batch` is about to be asked for; what was expected before no longer is."""
        wanted = [index for index in dict.fromkeys(indices) if index not in self._kept]
        for index in set(self._coming) - set(wanted):
            self._coming.pop(index).cancel()
        for index in wanted:
            if index not in self._coming:
                self._coming[index] = self._threads.submit(self._load, index)

    def batch(self, index: int) -> Batch:
        """Return frame `index` as a batch on the device."""
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        coming = self._coming.pop(index, None)
        batch = jax.device_put(self._load(index) if coming is None else coming.result())
        self._kept[index] = batch
        while len(self._kept) > 1 and sum(map(tree_bytes, self._kept.values())) > self.device_bytes:
            self._kept.popitem(last=False)
        return batch

    def _load(self, index: int) -> Batch:
        frame = self.frames[index]
        height, width = frame.height, frame.width
        sweep = self._sweep(frame)
        depth = np.zeros((height, width), np.float32) if sweep is None else lidar_depth(self.scene, frame)
        modelled = actor_region(self.scene, frame, self.actors)
        moving = self.loader.mask(frame, "dynamic")
        return Batch(
            image=self.loader.image(frame),
            weight=self.loader.mask(frame, "valid") * (1 - moving * ~modelled),
            view=view_of(frame, frame.exposure_id, index, self.cameras.index(frame.camera)),
            sky=self.loader.mask(frame, "sky") > 0.5,
            sky_known=np.bool_("sky" in frame.masks),
            lidar=depth,
            novel=np.bool_(False),
            dynamic=modelled & (moving > 0.5) if "dynamic" in frame.masks else modelled,
        )

    def _sweep(self, frame: Frame) -> Sweep | None:
        same_time = (sweep for sweep in self.scene.sweeps if sweep.time_index == frame.time_index)
        return next(same_time, None) if self.use_lidar else None


def actor_region(scene: SceneData, frame: Frame, names: tuple[str, ...]) -> Bool[np.ndarray, "H W"]:
    """Return the pixels inside the upright rectangles around the projected boxes of some tracks."""
    region = np.zeros((frame.height, frame.width), bool)
    boxes = [box for box in boxes_at(scene, frame.time_index) if box.track_id in names]
    if not boxes:
        return region
    placed = np.stack([box.world_from_object for box in boxes]), np.stack([box.size for box in boxes])
    seen = project_boxes(*placed, frame.K, frame.world_from_camera, frame.width, frame.height)
    for left, top, right, bottom in seen.hulls[seen.partly_inside]:
        rows = slice(max(int(top - MARGIN), 0), max(int(bottom + MARGIN) + 1, 0))
        region[rows, max(int(left - MARGIN), 0) : max(int(right + MARGIN) + 1, 0)] = True
    return region


def view_of(frame: Frame, exposure: int | Between, row: int = -1, rig: int = -1) -> View:
    """Return the view of a frame; `row` and `rig` are -1 for one without learnt corrections."""
    number = lambda x: jax.device_put(np.int32(x))
    before, after, share = exposure if isinstance(exposure, Between) else (exposure, exposure, 0.0)
    which = number(before), number(row), number(rig), jax.device_put(np.float32(frame.time))
    return View(camera_of(frame), *which, number(after), jax.device_put(np.float32(share)))


def frame_at(seed: int, step: int, count: int) -> int:
    """Return which of `count` frames a step sees: a fresh permutation per epoch, a pure function of its inputs."""
    epoch, place = divmod(step, count)
    return int(np.random.default_rng([seed, epoch]).permutation(count)[place])


def scene_radius(world_from_camera: Float[np.ndarray, "F 4 4"]) -> float:
    """Return the extent of the camera path in metres: 1.1 times the largest distance from its centre."""
    centres = world_from_camera[:, :3, 3]
    return max(1.1 * float(np.linalg.norm(centres - centres.mean(0), axis=1).max()), 1.0)
