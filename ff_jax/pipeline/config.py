"""The settings of the main job, as nested frozen dataclasses: one place, static, hashable, printable."""

import dataclasses
from typing import Any, get_type_hints

from jaxtyping import PyTree

from ff_jax.fixers.self_fit import SelfFitConfig
from ff_jax.pipeline.fix_event import EigConfig
from ff_jax.render.renderer import RenderSettings
from ff_jax.train.shift_schedule import ShiftSchedule
from ff_jax.train.step import ReconConfig


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which log, at which size.

    Attributes:
        source: "world" for the built-in street, else a folder with scene.json or cameras.json.
        seed: which street of the built-in world.
        width, height: size of the built-in world's images, pixels; a log's images are scaled to `width` (0 keeps
            their size).
        frames: number of images per camera of the built-in world.
        moving: whether vehicles of the built-in world move.
        cameras: names of the cameras to train on; empty takes all.
        hold_out: every n-th training time step becomes a test step; 0 holds none out.
        use_lidar: use LiDAR for initial points and the depth loss where the log has it.
        rolling_shutter: follow the read-out of images where the log tells how cameras moved meanwhile.
    """

    source: str = "world"
    seed: int = 0
    width: int = 208
    height: int = 128
    frames: int = 24
    moving: bool = False
    cameras: tuple[str, ...] = ()
    hold_out: int = 0
    use_lidar: bool = True
    rolling_shutter: bool = False


@dataclasses.dataclass(frozen=True)
class RenderConfig:
    """The renderer (see `RenderSettings`; its capacity is measured)."""

    antialiased: bool = True
    near: float = 0.2
    eps2d: float = 0.3
    tile: int = 0  # pixels; 0 takes the implementation's default
    implementation: str = ""  # "" takes the best one for the device

    def settings(self, capacity: int) -> RenderSettings:
        """Return renderer settings of `capacity` tile intersections."""
        return RenderSettings(
            capacity=capacity,
            antialiased=self.antialiased,
            near=self.near,
            eps2d=self.eps2d,
            tile=self.tile or None,
            implementation=self.implementation or None,
        )


@dataclasses.dataclass(frozen=True)
class InitConfig:
    """The first Gaussians.

    Attributes:
        points: how many points to start from.
        random_share: share of them that is drawn at random instead of measured.
        opacity: their opacity.
        scale: their standard deviation in units of the mean distance to the 3 nearest.
    """

    points: int = 12_000
    random_share: float = 0.2
    opacity: float = 0.5
    scale: float = 1.0


@dataclasses.dataclass(frozen=True)
class ActorConfig:
    """What moves along tracked boxes.

    Attributes:
        slots: Gaussians per actor; 0 leaves everything that moves out of the scene and of training.
        points: how many of them to start from.
        min_path: metres that a track must travel to become an actor; the others belong to the background.
    """

    slots: int = 2000
    points: int = 1000
    min_path: float = 1.0


@dataclasses.dataclass(frozen=True)
class ThinConfig:
    """The thinned reconstruction whose held-out views teach `self_fit`.

    Attributes:
        every: one of `every` frames is kept; the others are held out.
        steps: training steps of the thinned reconstruction.
        skip: every held-out view is taught a second time with references that leave out the `skip` nearest frames:
            off the lane, too, references are poorer than beside a held-out frame. 0 teaches it once.
    """

    every: int = 4
    steps: int = 600
    skip: int = 2


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """What is measured and shown.

    Attributes:
        shifts: lateral shifts in metres (left positive) to render, besides those of the log's test frames.
        frames: at most this many frames per shift, spread evenly.
        video_frames: length of the lane-change flight.
        video_width: its lateral extent, metres.
        fps: frames per second of the flight.
    """

    shifts: tuple[float, ...] = (0.0, 1.0, 2.0, 3.0)
    frames: int = 8
    video_frames: int = 72
    video_width: float = 3.0
    fps: int = 24


@dataclasses.dataclass(frozen=True)
class FuseConfig:
    """The main job: reconstruct, then fuse generated views in, then evaluate.

    Attributes:
        seed: of everything random but the built-in world.
        steps: training steps in all; the schedule's `start` is where fusing begins.
        novel_probability: share of the steps that look at pseudo-views after the first event.
        pool: pseudo-views kept; older ones are overwritten.
        event_stride: an event renders every n-th recorded frame.
        fixer: name of the generator: "none", "self_fit", "difix" or "eigent" (whose trained weights must lie in the
            package), or two of them, "eigent_then_difix": the second from when the largest shift was visited.
        save_every: steps between checkpoints.
        check_every: steps between log lines and looks at the renderer's capacity.
    """

    seed: int = 0
    steps: int = 30_000
    novel_probability: float = 0.4
    pool: int = 96
    event_stride: int = 1
    fixer: str = "self_fit"
    save_every: int = 1000
    check_every: int = 50
    data: DataConfig = DataConfig()
    render: RenderConfig = RenderConfig()
    init: InitConfig = InitConfig()
    actors: ActorConfig = ActorConfig()
    recon: ReconConfig = ReconConfig()
    schedule: ShiftSchedule = ShiftSchedule()
    thin: ThinConfig = ThinConfig()
    self_fit: SelfFitConfig = SelfFitConfig()
    eig: EigConfig = EigConfig()
    evaluate: EvalConfig = EvalConfig()

    def __post_init__(self):
        """Check what would make a resumed run differ, or a run pointless."""
        if self.save_every % self.check_every:
            raise ValueError(f"save_every={self.save_every} must be a multiple of check_every={self.check_every}.")
        if not 0 <= self.novel_probability <= 1:
            raise ValueError(f"novel_probability={self.novel_probability} must lie in [0, 1].")
        if self.schedule.start > self.steps:
            raise ValueError(
                f"schedule.start={self.schedule.start} lies behind steps={self.steps}: nothing would be fused."
            )


def to_dict(config: Any) -> dict[str, Any]:
    """Return a nested dataclass as a nested dict with the same names."""
    return dataclasses.asdict(config)


def from_dict(cls: type, values: dict[str, PyTree]) -> Any:
    """Build the nested dataclass `cls` from a nested dict.

    Raises:
        ValueError: a name that `cls` does not have.
    """
    hints = get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"{cls.__name__} has no setting {unknown[0]!r}; it has {', '.join(sorted(hints))}.")

    def convert(name: str, value: Any) -> Any:
        if dataclasses.is_dataclass(hints[name]):
            return from_dict(hints[name], value)
        return tuple(value) if isinstance(value, list) else value

    return cls(**{name: convert(name, value) for name, value in values.items()})
