"""The settings of the main job as nested frozen dataclasses: static, hashable, printable."""

import dataclasses
from typing import Any, get_type_hints

from jaxtyping import PyTree

from ff_jax.data.config import DataConfig
from ff_jax.eig.config import EigConfig
from ff_jax.fixers.self_fit import SelfFitConfig
from ff_jax.render.renderer import RenderSettings
from ff_jax.runtime.settings import MAX_SEED, MAX_STEPS, SettingError, Settings, bounded
from ff_jax.train.config import ReconConfig
from ff_jax.train.densify.mcmc import DensityConfig
from ff_jax.train.shift_schedule import ShiftSchedule


@dataclasses.dataclass(frozen=True)
class RenderConfig(Settings):
    """The renderer (see `RenderSettings`; the capacity is counted)."""

    antialiased: bool = True
    near: float = bounded(0.2, 1e-3, 1e3)
    eps2d: float = bounded(0.3, 0.0, 100.0)
    tile: int = bounded(0, 0, 256)  # pixels; 0 takes the implementation's default
    implementation: str = ""  # "" takes the best one for the device

    def settings(self, capacity: int) -> RenderSettings:
        """Make renderer settings with a capacity of tile intersections."""
        return RenderSettings(
            capacity=capacity,
            antialiased=self.antialiased,
            near=self.near,
            eps2d=self.eps2d,
            tile=self.tile or None,
            implementation=self.implementation or None,
        )


@dataclasses.dataclass(frozen=True)
class InitConfig(Settings):
    """The initial Gaussians.

    Attributes:
        scene: file of a scene of Gaussians to start from, with options (`scene_file`); "" starts from points.
        points: number of initial points.
        random_share: share of them that is drawn at random instead of measured.
        opacity: their opacity.
        scale: their standard deviation in units of the mean distance to the 3 nearest.
        ground: Gaussians of a ground node, a part of `recon.budget`: those of the initial points on the road. Their
            positions and their number do not change (ReconDreamer++). 0 models the road as background.
    """

    scene: str = ""
    points: int = bounded(12_000, 1, 100_000_000)
    random_share: float = bounded(0.2, 0.0, 1.0)
    opacity: float = bounded(0.5, 1e-3, 0.999)
    scale: float = bounded(1.0, 1e-3, 100.0)
    ground: int = bounded(0, 0, 100_000_000)


@dataclasses.dataclass(frozen=True)
class ActorConfig(Settings):
    """Actors: moving objects with tracked boxes.

    Attributes:
        slots: Gaussians per actor; 0 models no actors and masks moving objects out of training.
        points: number of initial points per actor.
        min_path: distance that a track must travel to become an actor, meters; others are background.
    """

    slots: int = bounded(2000, 0, 1_000_000)
    points: int = bounded(1000, 0, 1_000_000)
    min_path: float = bounded(1.0, 0.0, 1e6)


@dataclasses.dataclass(frozen=True)
class PairsConfig(Settings):
    """Pairs of renders and true images of a log: `self_fit` is adapted to them, all fixers are measured on them.

    They are held-out views of a reconstruction from a part of the frames.

    Attributes:
        every: one of `every` time steps is kept for the reconstruction; the others are held out.
        steps: training steps of that reconstruction.
        skip: each held-out view gives a second pair whose references leave out the `skip` nearest frames, because
            references off the lane are poorer than those beside a held-out frame. 0 makes one pair.
        stops: no view is held out, but the recorded views are rendered after these training steps of a reconstruction
            from all frames, which is under-trained there (ReconDreamer). () takes held-out views.
        lag: each pair gives a second one whose LiDAR condition is made around `lag` time steps later or, for every
            second view, earlier (FreeVS); for fixers that see LiDAR. 0 makes no second pair.
    """

    every: int = bounded(4, 2, 100_000)
    steps: int = bounded(600, 1, MAX_STEPS)
    skip: int = bounded(2, 0, 100_000)
    stops: tuple[int, ...] = bounded((), 1, MAX_STEPS)
    lag: int = bounded(0, 0, 100_000)


@dataclasses.dataclass(frozen=True)
class EvalConfig(Settings):
    """Evaluation and the results page.

    Attributes:
        shifts: lateral shifts in meters (left positive) to render, besides those of the log's test frames.
        frames: at most this many frames per shift, evenly spaced.
        video_frames: number of frames of the fly-through.
        video_width: lateral extent of its lane change, meters.
        fps: frames per second of the fly-through.
        repair: whether `experiments.evaluate` also passes renders through the fixer of the run (the last step of
            DIFIX3D+), as all images of a fixer that repairs no render.
    """

    shifts: tuple[float, ...] = bounded((0.0, 1.0, 2.0, 3.0), -100.0, 100.0)
    frames: int = bounded(8, 1, 1_000_000)
    video_frames: int = bounded(72, 1, 100_000)
    video_width: float = bounded(3.0, -100.0, 100.0)
    fps: int = bounded(24, 1, 240)
    repair: bool = False


@dataclasses.dataclass(frozen=True)
class FuseConfig(Settings):
    """The main job: reconstruct, then fuse repaired views, then evaluate.

    Attributes:
        seed: of all random numbers except the synthetic street.
        steps: number of training steps; fusing begins at `schedule.start`. 0 leaves the initial Gaussians.
        novel_probability: share of the steps after the first event that also train on a pseudo-view.
        pseudo_view_capacity: largest number of pseudo-views (see `schedule.update`).
        event_stride: an event renders every n-th recorded frame.
        novel_depth: whether measured points (LiDAR, or structure from motion) supervise the depth of pseudo-views.
        fixer: name of the fixer: "none", "self_fit", "reference_unet", "difix" or "eigent".
        late_fixer: name of the fixer that replaces `fixer` once the largest shift is reached; "" keeps `fixer`.
        use_skill: whether repairs are weighted by the measured skill of their fixer, and not used without any.
        use_baseline: whether the scene is also trained on recorded views alone to the last step, for comparison.
        save_every: steps between checkpoints.
        check_every: steps between log lines and checks of the renderer's capacity.
    """

    seed: int = bounded(0, 0, MAX_SEED)
    steps: int = bounded(30_000, 0, MAX_STEPS)
    novel_probability: float = bounded(0.4, 0.0, 1.0)
    pseudo_view_capacity: int = bounded(96, 0, 100_000)
    event_stride: int = bounded(1, 1, 100_000)
    novel_depth: bool = True
    fixer: str = "self_fit"
    late_fixer: str = ""
    use_skill: bool = True
    use_baseline: bool = True
    save_every: int = bounded(1000, 1, MAX_STEPS)
    check_every: int = bounded(50, 1, MAX_STEPS)
    data: DataConfig = DataConfig()
    render: RenderConfig = RenderConfig()
    init: InitConfig = InitConfig()
    actors: ActorConfig = ActorConfig()
    recon: ReconConfig = ReconConfig()
    schedule: ShiftSchedule = ShiftSchedule()
    pairs: PairsConfig = PairsConfig()
    self_fit: SelfFitConfig = SelfFitConfig()
    eig: EigConfig = EigConfig()
    evaluate: EvalConfig = EvalConfig()

    def __post_init__(self):
        """Check the settings that would make a resumed run differ, or a run without effect."""
        super().__post_init__()
        if self.save_every % self.check_every:
            raise ValueError(f"save_every={self.save_every} must be a multiple of check_every={self.check_every}.")
        if self.schedule.start > self.steps:
            raise ValueError(
                f"schedule.start={self.schedule.start} is after steps={self.steps}: lower it, or nothing is fused."
            )
        if self.init.ground >= self.recon.budget:
            raise ValueError(f"init.ground={self.init.ground} must be below recon.budget={self.recon.budget}.")
        if self.init.ground and self.init.scene:
            raise ValueError(f"init.ground={self.init.ground} takes initial points: set it to 0 with init.scene.")
        others = {self.fixer, self.late_fixer} - {"", "none", "self_fit"}
        if self.pairs.stops and (others or self.self_fit.network.use_references):
            raise ValueError(
                f"pairs.stops={self.pairs.stops} renders recorded views, whose references would be the true images: "
                "set fixer=self_fit and self_fit.network.use_references=False with it."
            )


def demo_config(*, is_large: bool = False) -> FuseConfig:
    """Make the settings of the demo: the synthetic street, one camera, out to 3 m left.

    Args:
        is_large: 640x384 pixels and 100,000 Gaussians for GPUs, not 208x128 and 16,000; either takes minutes.
    """
    return FuseConfig(
        steps=1300,
        save_every=500,
        pseudo_view_capacity=42,
        # `difix` was trained on other synthetic streets, at the small size; its repairs of larger images are blurred.
        fixer="self_fit" if is_large else "difix",
        data=DataConfig(frames=14, width=640, height=384) if is_large else DataConfig(frames=14),
        render=RenderConfig(antialiased=False),
        recon=ReconConfig(
            budget=100_000 if is_large else 16_000,
            sh_degree=1,
            sh_every=400,
            density=DensityConfig(start=150, stop=1000, every=50),
        ),
        init=InitConfig(points=50_000 if is_large else 8_000, scale=0.35),
        schedule=ShiftSchedule(start=300, every=200, meters=1.0, largest=3.0, sides=(1,), refresh=600),
        eig=EigConfig(kappa=0.1, floor=0.2),
        pairs=PairsConfig(every=2, steps=400),
        evaluate=EvalConfig(shifts=(0.0, 1.0, 2.0, 3.0), frames=6, video_width=3.0, video_frames=48, fps=16),
    )


def to_dict(config: Any) -> dict[str, Any]:
    """Convert a nested dataclass to a nested dict with the same names."""
    return dataclasses.asdict(config)


def from_dict(cls: type, values: dict[str, PyTree]) -> Any:
    """Build the nested dataclass `cls` from a nested dict.

    Raises:
        ValueError: `cls` has no setting of that name, or a value is out of range.
    """
    hints = get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"{cls.__name__} has no setting {unknown[0]!r}; it has {', '.join(sorted(hints))}.")

    def convert(name: str, value: Any) -> Any:
        if not dataclasses.is_dataclass(hints[name]):
            return tuple(value) if isinstance(value, list) else value
        try:
            return from_dict(hints[name], value)
        except SettingError as error:
            raise error.within(name) from None

    return cls(**{name: convert(name, value) for name, value in values.items()})
