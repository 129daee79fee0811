"""Scene data: one driving log in memory, the output of every reader and the input of every later stage.

`SceneData` lives on the host (NumPy, float64 poses), is immutable, and is not a pytree: images, masks and LiDAR points
stay on disk as lazy arrays (`lazy_arrays.py`), because a long log does not fit in memory. docs/scene_contract.md
describes the layout on disk; `validate.py` checks both forms.

Conventions: OpenCV camera axes (x right, y down, z forward), pixel centers at .5, meters, seconds from the
start of the log. The ego frame is x forward, y left, z up; its z axis defines "up" in a log.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.lidar_returns import drop_invalid

Array = np.ndarray

SPLITS = ("train", "test")
MASKS = ("sky", "valid", "dynamic")  # 1 = sky; 1 = usable, not the ego vehicle; 1 = on a moving object
LANE_KINDS = ("lane_line", "road_edge", "crosswalk")
CATEGORIES = ("vehicle", "pedestrian", "cyclist", "other")

# Columns are the ego axes in OpenCV camera axes: forward = z, left = -x, up = -y.
OPENCV_FROM_EGO = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


@dataclass(frozen=True, eq=False)
class Readout:
    """The motion of a rolling-shutter camera during the read-out of one image, line by line.

    The pose of the frame belongs to the middle line.
    """

    motion: Float[Array, "6"]  # of camera_from_world, first to last line: rotation vector [rad], translation [m]
    columns: bool = False  # lines are columns, left to right, instead of rows, top to bottom


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of one camera. `K` describes the undistorted image, with or without `distortion`."""

    camera: str
    time_index: int  # into SceneData.times
    time: float  # seconds from the start of the log; cameras of one time index may differ slightly
    K: Float[Array, "3 3"]  # pixels, of an image of `width` x `height`
    world_from_camera: Float[Array, "4 4"]
    width: int
    height: int
    image: Source  # (height, width, 3), before undistortion
    distortion: Float[Array, "n"] | None = None  # OpenCV k1, k2, p1, p2, k3, or 12 (`lenses.py`); None for a pinhole
    exposure_id: int = 0  # 0 or more; images with the same id share one exposure
    split: str = "train"  # one of SPLITS
    masks: Mapping[str, Source] = field(default_factory=dict)  # keys from MASKS; before undistortion, like `image`
    readout: Readout | None = None  # None: a global shutter


@dataclass(frozen=True, eq=False)
class LidarSweep:
    """One revolution of one LiDAR."""

    time_index: int
    world_from_lidar: Float[Array, "4 4"]
    points: Source  # (N, 4): x, y, z in meters in the LiDAR frame, intensity
    sensor: str = "lidar"

    def load(self) -> tuple[Float[Array, "N 3"], Float[Array, "N"]]:
        """Load the points (meters, LiDAR frame) and their intensities; invalid points are dropped."""
        points = drop_invalid(self.points.load(), self.points.name)
        return points[:, :3], points[:, 3]

    def load_world(self) -> Float[Array, "N 3"]:
        """Load the points (meters, world frame)."""
        points, _ = self.load()
        return transform(self.world_from_lidar, points)


@dataclass(frozen=True, eq=False)
class Box:
    """One tracked object at one time; object frame: x forward, y left, z up, origin in the center."""

    track_id: str
    category: str  # one of CATEGORIES
    time_index: int
    world_from_object: Float[Array, "4 4"]
    size: Float[Array, "3"]  # length (x), width (y), height (z), meters
    num_points: int = -1  # LiDAR points inside; -1 when unknown


@dataclass(frozen=True, eq=False)
class Lane:
    """One polyline of the map; a crosswalk is the closed outline of its area."""

    kind: str  # one of LANE_KINDS
    points: Float[Array, "M 3"]  # meters, world


@dataclass(frozen=True, eq=False)
class SparsePoints:
    """Points of a structure-from-motion reconstruction."""

    xyz: Float[Array, "N 3"]  # meters, world
    rgb: Float[Array, "N 3"] | None = None  # [0, 1]


@dataclass(frozen=True, eq=False)
class SceneData:
    """One driving log. `times` and `world_from_ego` cover the whole log, whichever frames are selected."""

    name: str
    source: str  # origin of the data, in words
    license: str  # of the data
    times: Float[Array, "T"]  # seconds, strictly increasing
    world_from_ego: Float[Array, "poses 4 4"]  # one per time
    frames: tuple[Frame, ...]
    sweeps: tuple[LidarSweep, ...] = ()
    boxes: tuple[Box, ...] = ()
    lanes: tuple[Lane, ...] = ()
    points: SparsePoints | None = None
    has_meters: bool = True  # False: lengths are in units of unknown length
    # The similarity that maps coordinates in the files of the log to the world, where readers moved or scaled it.
    world_from_files: Float[Array, "4 4"] = field(default_factory=lambda: np.eye(4))

    @property
    def cameras(self) -> tuple[str, ...]:
        """Return the camera names in order of first appearance."""
        return tuple(dict.fromkeys(frame.camera for frame in self.frames))

    @property
    def unit(self) -> str:
        """Return the unit of length, for captions."""
        return "m" if self.has_meters else "units"

    @property
    def num_exposures(self) -> int:
        """Count the exposure models that the frames refer to."""
        return 1 + max((frame.exposure_id for frame in self.frames), default=-1)


def select(
    scene: SceneData,
    *,
    cameras: tuple[str, ...] | None = None,
    split: str | None = None,
    start: float | None = None,
    stop: float | None = None,
) -> SceneData:
    """Select the frames of some cameras, of one split, or of the times start <= t < stop (seconds).

    The time range also selects sweeps and boxes. Times and ego poses stay whole, so every index stays valid.

    Raises:
        ValueError: a camera or the split does not exist, or no frame is left.
    """
    unknown = sorted(set(cameras or ()) - set(scene.cameras))
    if unknown:
        raise ValueError(f"scene {scene.name!r} has no camera {unknown[0]!r}; it has {', '.join(scene.cameras)}.")
    if split not in (None, *SPLITS):
        raise ValueError(f"invalid {split=}: expected one of {', '.join(SPLITS)}, or None.")
    low, high = -np.inf if start is None else start, np.inf if stop is None else stop
    inside = (scene.times >= low) & (scene.times < high)
    frames = tuple(
        frame
        for frame in scene.frames
        if (cameras is None or frame.camera in cameras)
        and (split is None or frame.split == split)
        and inside[frame.time_index]
    )
    if not frames:
        raise ValueError(f"no frame of {scene.name!r} has {cameras=}, {split=}, {start=}, {stop=}; select more.")
    sweeps = tuple(sweep for sweep in scene.sweeps if inside[sweep.time_index])
    boxes = tuple(box for box in scene.boxes if inside[box.time_index])
    return replace(scene, frames=frames, sweeps=sweeps, boxes=boxes)


def hold_out(scene: SceneData, every: int = 8) -> SceneData:
    """Turn every `every`-th time step of the training frames, with all its cameras, into a test step.

    Counting starts in the middle of the first group, so that every test step lies between training steps.

    Raises:
        ValueError: `every` is below 2, which would leave no training frame.
    """
    if every < 2:
        raise ValueError(f"{every=} leaves no training frame; use 2 or more.")
    steps = sorted({frame.time_index for frame in scene.frames if frame.split == "train"})
    test_steps = set(steps[every // 2 :: every])
    frames = tuple(replace(f, split="test") if f.time_index in test_steps else f for f in scene.frames)
    return replace(scene, frames=frames)


def with_dense_exposures(scene: SceneData) -> SceneData:
    """Renumber the exposures from 0 without gaps, in the order of their numbers: every number is trained."""
    numbers = sorted({frame.exposure_id for frame in scene.frames if frame.exposure_id >= 0})
    if numbers == list(range(len(numbers))):
        return scene
    dense = {number: index for index, number in enumerate(numbers)}  # negative ones are left for validation
    frames = tuple(replace(f, exposure_id=dense.get(f.exposure_id, f.exposure_id)) for f in scene.frames)
    return replace(scene, frames=frames)


def hold_out_cameras(scene: SceneData, cameras: tuple[str, ...]) -> SceneData:
    """Turn all frames of some cameras into test frames.

    Raises:
        ValueError: a camera does not exist, or no training frame is left.
    """
    unknown = sorted(set(cameras) - set(scene.cameras))
    if unknown:
        raise ValueError(f"scene {scene.name!r} has no camera {unknown[0]!r}; it has {', '.join(scene.cameras)}.")
    frames = tuple(replace(f, split="test") if f.camera in cameras else f for f in scene.frames)
    if all(frame.split == "test" for frame in frames):
        raise ValueError(f"{cameras=} are all training cameras of {scene.name!r}; hold out fewer.")
    return replace(scene, frames=frames)


def boxes_at(scene: SceneData, time_index: int) -> tuple[Box, ...]:
    """Select the boxes of one time step."""
    return tuple(box for box in scene.boxes if box.time_index == time_index)


def tracks(scene: SceneData) -> dict[str, tuple[Box, ...]]:
    """Group the boxes by track id, in order of time."""
    groups: dict[str, list[Box]] = {}
    for box in sorted(scene.boxes, key=lambda box: box.time_index):
        groups.setdefault(box.track_id, []).append(box)
    return {track: tuple(boxes) for track, boxes in groups.items()}


def moving_tracks(scene: SceneData, min_path: float = 1.0) -> frozenset[str]:
    """Select the ids of the tracks whose box centers travel more than `min_path` meters in total."""
    paths = {
        track: np.linalg.norm(np.diff([b.world_from_object[:3, 3] for b in boxes], axis=0), axis=-1).sum()
        for track, boxes in tracks(scene).items()
        if len(boxes) > 1
    }
    return frozenset(track for track, path in paths.items() if path > min_path)


def ego_from_front_camera(world_from_camera: Float[Array, "*t 4 4"]) -> Float[Array, "*t 4 4"]:
    """Compute world_from_ego for an ego frame at the front camera: x along its view, y left, z up."""
    return world_from_camera @ OPENCV_FROM_EGO


def transform(matrix: Float[Array, "4 4"], points: Float[Array, "N 3"]) -> Float[Array, "N 3"]:
    """Apply a rigid transform to points."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def invert_rigid(matrix: Float[Array, "*t 4 4"]) -> Float[Array, "*t 4 4"]:
    """Invert rigid transforms on the host: (R, t) -> (R^T, -R^T t), as `render.camera.invert_rigid` does in JAX."""
    rotation = np.swapaxes(matrix[..., :3, :3], -1, -2)
    result = np.broadcast_to(np.eye(4), matrix.shape).copy()
    result[..., :3, :3] = rotation
    result[..., :3, 3] = -np.einsum("...ij,...j->...i", rotation, matrix[..., :3, 3])
    return result
