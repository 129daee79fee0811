"""The part of a driving log that a scene is reconstructed from."""

from dataclasses import dataclass, replace
from functools import cached_property

from ff_jax.data.padding import largest_size, padded
from ff_jax.data.scene_data import Frame, LidarSweep, SceneData


@dataclass(frozen=True)
class Recording:
    """The recorded frames of a log, and which of its other data is used.

    Attributes:
        log: the driving log; its `times` and ego poses cover all frames.
        frames: frames to train on, in order; their index is their row of pose corrections.
        actors: track ids of the boxes that the scene models; other moving objects are masked out of training.
        use_lidar: whether LiDAR sweeps give initial points and depth images.
    """

    log: SceneData
    frames: tuple[Frame, ...]
    actors: tuple[str, ...] = ()
    use_lidar: bool = True

    @property
    def image_size(self) -> tuple[int, int]:
        """Return (width, height) in pixels to which images are padded: shapes are static in a run.

        It is the same for all recordings of a log.
        """
        return largest_size((*train_frames(self.log), *self.frames))

    @cached_property
    def padded_frames(self) -> tuple[Frame, ...]:
        """Return the frames, padded to one image size; see `padding.padded`."""
        size = self.image_size
        return tuple(padded(frame, size) for frame in self.frames)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Return the names of the physical cameras of the log; their index is their row of intrinsics."""
        return tuple(dict.fromkeys(frame.camera for frame in self.log.frames))

    @property
    def time_indices(self) -> tuple[int, ...]:
        """Return the time indices of the recorded frames, increasing."""
        return time_indices(self.frames)

    @property
    def sweeps(self) -> tuple[LidarSweep, ...]:
        """Return the LiDAR sweeps to train on: all but those of held-out time steps, which measure the depth error."""
        if not self.use_lidar:
            return ()
        test, train = ({f.time_index for f in self.log.frames if f.split == split} for split in ("test", "train"))
        return tuple(sweep for sweep in self.log.sweeps if sweep.time_index not in test - train)

    @property
    def visible_log(self) -> SceneData:
        """Return the log with only the recorded frames and the sweeps to train on."""
        return replace(self.log, frames=self.frames, sweeps=self.sweeps)

    def sweep_at(self, frame: Frame) -> LidarSweep | None:
        """Find the LiDAR sweep at the time of a frame; None without LiDAR."""
        matches = (sweep for sweep in self.log.sweeps if sweep.time_index == frame.time_index)
        return next(matches, None) if self.use_lidar else None


def time_indices(frames: tuple[Frame, ...]) -> tuple[int, ...]:
    """Collect the time indices of some frames, increasing."""
    return tuple(sorted({frame.time_index for frame in frames}))


def train_frames(log: SceneData) -> tuple[Frame, ...]:
    """Select the frames of a log that may be trained on."""
    return tuple(frame for frame in log.frames if frame.split == "train")
