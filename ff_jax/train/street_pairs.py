"""Degraded views with their truth from built-in streets: what a generator is trained and judged on.

A street is reconstructed from recorded views, few or many of them and for few or many steps, so that all degrees of
degradation occur; views beside the recorded path are rendered with EIG, depth and references, and the world gives the
truth. All streets share every static shape, so that nothing is compiled for a second one.

A driving log gives pairs too (`log_plan`, `build_from`): what is rendered are recorded frames that the reconstruction
does not see, of another camera or of time steps that were held out.
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from ff_jax.config import FuseConfig
from ff_jax.data.contract import Frame, SceneData
from ff_jax.data.from_world import world_scene
from ff_jax.data.loader import load_image
from ff_jax.data.world import WorldConfig
from ff_jax.generators.align import AlignConfig
from ff_jax.generators.pair_files import Pairs
from ff_jax.train.feed import Feed, view_of
from ff_jax.train.loop import Recipe, Run, train
from ff_jax.train.phases import make_feed, start_run
from ff_jax.train.progressive import Clip, aligned_references, learn, render_clip

RECORDED = 12  # views that a street is reconstructed from
_THIN = (1, 2, 3)
_STEPS = ((200, 300, 400, 500), (600, 900, 1300))
_SHIFTS = (-3.0, 6.0)  # metres: where a street is free of things
_VIEWS, _ON_PATH = 24, 6
_SLIDES, _DRIVES = 2, 4  # clips of a street; the first of the drives stays on the path
_CAPACITY = 1 << 17  # tile intersections; one that changed with the street would be compiled again
_RADIUS = 12.0  # metres: extent of the path, which scales learning rates and is compiled in


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the pairs of one street are made.

    Attributes:
        first: time index of the first recorded view.
        thin: every how many time steps one is recorded; `RECORDED` are.
        steps: training steps after which views are rendered, in order.
        views: time index and shift (metres, left positive) of every view.
    """

    first: int
    thin: int
    steps: tuple[int, ...]
    views: tuple[tuple[int, float], ...]

    @property
    def recorded(self) -> tuple[int, ...]:
        """Return the time indices of the recorded views."""
        return tuple(range(self.first, self.first + RECORDED * self.thin, self.thin))


def training_plan(seed: int, frames: int) -> Plan:
    """Return a random plan for a street of `frames` time steps: views on the path and -3 to 6 m beside it.

    Raises:
        ValueError: the street has too few time steps to record `RECORDED` of.
    """
    rng = np.random.default_rng([seed, 77])
    first, thin = _recording(rng, frames)
    times = first + rng.integers(RECORDED * thin, size=_VIEWS)
    shifts = np.where(np.arange(_VIEWS) < _ON_PATH, 0.0, rng.uniform(*_SHIFTS, _VIEWS).round(2))
    if thin > 1:  # what is on the path is held out
        times[:_ON_PATH] += (times[:_ON_PATH] - first) % thin == 0
    steps = tuple(int(rng.choice(few)) for few in _STEPS)
    return Plan(first, thin, steps, tuple((int(t), float(s)) for t, s in zip(times, shifts, strict=True)))


def clip_plan(seed: int, frames: int, length: int) -> Plan:
    """Return a random plan whose views are clips of `length` frames, one after the other.

    Some slide at one recorded time from the path to a shift of -3 to 6 m, so that their first frame is a recorded
    image; the others drive at such a shift, the first of them on the path.

    Raises:
        ValueError: the street has too few time steps for a recording, or the recording has for a clip.
    """
    rng = np.random.default_rng([seed, 78])
    first, thin = _recording(rng, frames)
    room = RECORDED * thin - length
    if length < 2 or room < 0:
        raise ValueError(f"clips of {length} frames must have 2 at least, and at most the {RECORDED} recorded ones.")
    views: list[tuple[int, float]] = []
    for _ in range(_SLIDES):
        views += slide(first + thin * int(rng.integers(RECORDED)), float(rng.uniform(*_SHIFTS)), length)
    for number in range(_DRIVES):
        start, shift = first + int(rng.integers(room + 1)), round(float(rng.uniform(*_SHIFTS)), 2)
        views += [(start + k, shift if number else 0.0) for k in range(length)]
    return Plan(first, thin, tuple(int(rng.choice(few)) for few in _STEPS), tuple(views))


def slide(time: int, shift: float, length: int) -> list[tuple[int, float]]:
    """Return views (time index, metres to the left) that slide from the path to `shift` at one time."""
    return [(time, round(float(part), 2)) for part in np.linspace(0.0, shift, length)]


def _recording(rng: np.random.Generator, frames: int) -> tuple[int, int]:
    """Return `Plan.first` and `Plan.thin` of a random recording.

    Raises:
        ValueError: the street has too few time steps to record `RECORDED` of.
    """
    thins = [thin for thin in _THIN if RECORDED * thin <= frames]
    if not thins:
        raise ValueError(f"frames={frames} of a street are too few: {RECORDED} are recorded.")
    thin = int(rng.choice(thins, p=None if len(thins) < len(_THIN) else (0.5, 0.3, 0.2)))
    return int(rng.integers(frames - RECORDED * thin + 1)), thin


def study_plan(shifts: Sequence[float], count: int, steps: int) -> Plan:
    """Return the plan by which fixers are judged: all time steps recorded, `count` views at every shift."""
    times = np.linspace(0, RECORDED - 1, count).round().astype(int)
    return Plan(0, 1, (steps,), tuple((int(t), float(shift)) for shift in shifts for t in times))


def study_clips(shifts: Sequence[float], lead: int, length: int, steps: int) -> Plan:
    """Return the plan by which video fixers are judged: all time steps recorded, one clip at every shift.

    A clip slides to its shift over `lead` frames at the first time step, the first of them the recorded image, and
    then drives `length` frames.
    """
    views: list[tuple[int, float]] = []
    for shift in shifts:
        views += slide(0, shift, lead + 1)[:lead] + [(time, float(shift)) for time in range(length)]
    return Plan(0, 1, (steps,), tuple(views))


def log_plan(
    log: SceneData, sources: tuple[str, ...], target: str, length: int
) -> tuple[tuple[Frame, ...], list[Frame]]:
    """Return which frames of a log are recorded, and which are rendered as clips of `length` frames.

    With a target that is no source, every frame of that camera is rendered (nothing of it is recorded). Otherwise,
    of every two stretches of `length` frames of the target the second is held out: recorded are the frames of the
    sources at all other times.

    Args:
        log: the driving log.
        sources: cameras that record.
        target: camera whose images are the truth.
        length: frames per clip; what is left over is not rendered.

    Raises:
        ValueError: a camera is unknown, or the target has too few frames.
    """
    unknown = sorted({*sources, target} - set(log.cameras))
    if unknown:
        raise ValueError(f"log {log.name!r} has no camera {unknown[0]!r}; it has {', '.join(log.cameras)}.")
    seen = sorted((frame for frame in log.frames if frame.camera == target), key=lambda frame: frame.time_index)
    cuts = [seen[start : start + length] for start in range(0, len(seen) - length + 1, length)]
    cuts = cuts[1::2] if target in sources else cuts
    if not cuts:
        raise ValueError(f"camera {target!r} has {len(seen)} frames, too few for clips of {length}: make them shorter.")
    held = {frame.time_index for cut in cuts for frame in cut} if target in sources else set()
    recorded = tuple(f for f in log.frames if f.camera in sources and f.time_index not in held)
    return recorded, [frame for cut in cuts for frame in cut]


def build(config: FuseConfig, seed: int, plan: Plan) -> Pairs:
    """Return the pairs of one street, those of the first of `plan.steps` first.

    Args:
        config: reconstruction and image size; its `data.frames` are the time steps of the street.
        seed: which street; with the plan and the config it decides everything.
        plan: what is recorded and rendered.
    """
    log, frames = _street(config, seed, plan)
    recorded = tuple(frames[t, 0.0] for t in plan.recorded)
    shifts = [shift for _, shift in plan.views]
    return build_from(config, log, recorded, [frames[view] for view in plan.views], shifts, plan.steps, _RADIUS)


def build_from(
    config: FuseConfig,
    log: SceneData,
    recorded: tuple[Frame, ...],
    seen: Sequence[Frame],
    shifts: Sequence[float],
    stops: Sequence[int],
    radius: float | None = None,
) -> Pairs:
    """Return the pairs of a log, those of the first of `stops` first.

    Args:
        config: reconstruction.
        log: the driving log.
        recorded: frames that it is reconstructed from.
        seen: frames that are rendered; their images are the truth.
        shifts: metres of every one of them to the left of the recorded path, which is kept beside it.
        stops: training steps after which views are rendered, in order.
        radius: extent of the path, metres; None measures it.
    """
    feed = make_feed(log, recorded, config)
    truth = np.stack([_bytes(load_image(frame)) for frame in seen])
    times = np.array([frame.time for frame in recorded])
    nearest = np.stack([_bytes(load_image(recorded[int(np.argmin(np.abs(times - frame.time)))])) for frame in seen])
    fixed = {"truth": truth, "nearest": nearest, "shift": np.array(shifts, np.float32)}
    fixed["K"] = np.stack([frame.K for frame in seen]).astype(np.float32)
    fixed["world_from_camera"] = np.stack([frame.world_from_camera for frame in seen]).astype(np.float64)
    run, recipe = start_run(log, feed, config, pool=0, steps=config.steps)
    settings = dataclasses.replace(recipe.settings, capacity=max(recipe.settings.capacity, _CAPACITY))
    recipe = dataclasses.replace(recipe, settings=settings, radius=radius or recipe.radius)
    parts = []
    for stop in stops:
        run, recipe = train(run, stop, recipe, feed)
        clip = _render(run, recipe, feed, seen, config)
        parts.append(Pairs(steps=np.full(len(seen), stop, np.int32), **fixed, **clip))
    return Pairs(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def _street(config: FuseConfig, seed: int, plan: Plan) -> tuple[SceneData, dict[tuple[int, float], Frame]]:
    """Return the log of the recorded time steps, and frames by time index and shift."""
    data = config.data
    world = WorldConfig(num_frames=data.frames, moving=False)
    shifts = sorted({shift for _, shift in plan.views})
    log = world_scene(seed, world, data.width, data.height, test_shifts=tuple(shifts))
    order = [0.0, *(shift for shift in shifts if shift != 0)]
    places = [(time, shift) for shift in order for time in range(data.frames)]
    frames = dict(zip(places, log.frames, strict=True))
    recorded = tuple(frames[time, 0.0] for time in plan.recorded)
    sweeps = tuple(sweep for sweep in log.sweeps if sweep.time_index in plan.recorded)
    return dataclasses.replace(log, frames=recorded, sweeps=sweeps), frames


def _render(
    run: Run, recipe: Recipe, feed: Feed, frames: Sequence[Frame], config: FuseConfig
) -> dict[str, Shaped[np.ndarray, "N ..."]]:
    """Return what the reconstruction shows in the views of some frames, and what it knows there."""
    scene = run.state.scene
    degree = min(int(run.state.step) // recipe.recon.sh_every, recipe.recon.sh_degree)
    known = learn(scene, feed, recipe.settings, degree, config.eig.priors)
    views = [view_of(frame, frame.exposure_id) for frame in frames]
    clip = render_clip(scene, known, views, recipe.settings, degree)
    clip = clip._replace(rgb=jnp.clip(clip.rgb, 0.0, 1.0))
    aligned = aligned_references(clip, views, known, feed, AlignConfig())
    return _stored(clip, np.asarray(aligned))


def _stored(clip: Clip, aligned: Float[np.ndarray, "N H W 3"]) -> dict[str, Shaped[np.ndarray, "N ..."]]:
    small = {name: np.asarray(array).astype(np.float16) for name, array in (("eig", clip.eig), ("depth", clip.depth))}
    return {"render": _bytes(np.asarray(clip.rgb)), "aligned": _bytes(aligned)} | small


def _bytes(image: Float[np.ndarray, "*N H W 3"]) -> UInt8[np.ndarray, "*N H W 3"]:
    return np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
