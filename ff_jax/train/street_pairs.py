"""Degraded views with their truth from built-in streets: what a generator is trained and judged on.

A street is reconstructed from recorded views, few or many of them and for few or many steps, so that all degrees of
degradation occur; views beside the recorded path are rendered with EIG, depth and references, and the world gives the
truth. All streets share every static shape, so that nothing is compiled for a second one.
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
    thins = [thin for thin in _THIN if RECORDED * thin <= frames]
    if not thins:
        raise ValueError(f"frames={frames} of a street are too few: {RECORDED} are recorded.")
    thin = int(rng.choice(thins, p=None if len(thins) < len(_THIN) else (0.5, 0.3, 0.2)))
    first = int(rng.integers(frames - RECORDED * thin + 1))
    times = first + rng.integers(RECORDED * thin, size=_VIEWS)
    shifts = np.where(np.arange(_VIEWS) < _ON_PATH, 0.0, rng.uniform(*_SHIFTS, _VIEWS).round(2))
    if thin > 1:  # what is on the path is held out
        times[:_ON_PATH] += (times[:_ON_PATH] - first) % thin == 0
    steps = tuple(int(rng.choice(few)) for few in _STEPS)
    return Plan(first, thin, steps, tuple((int(t), float(s)) for t, s in zip(times, shifts, strict=True)))


def study_plan(shifts: Sequence[float], count: int, steps: int) -> Plan:
    """Return the plan by which fixers are judged: all time steps recorded, `count` views at every shift."""
    times = np.linspace(0, RECORDED - 1, count).round().astype(int)
    return Plan(0, 1, (steps,), tuple((int(t), float(shift)) for shift in shifts for t in times))


def build(config: FuseConfig, seed: int, plan: Plan) -> Pairs:
    """Return the pairs of one street, those of the first of `plan.steps` first.

    Args:
        config: reconstruction and image size; its `data.frames` are the time steps of the street.
        seed: which street; with the plan and the config it decides everything.
        plan: what is recorded and rendered.
    """
    log, frames = _street(config, seed, plan)
    feed = make_feed(log, tuple(frames[t, 0.0] for t in plan.recorded), config)
    seen = [frames[view] for view in plan.views]
    truth = np.stack([_bytes(load_image(frame)) for frame in seen])
    near = [int(np.argmin(np.abs(np.array(plan.recorded) - t))) for t, _ in plan.views]
    nearest = np.stack([_bytes(load_image(feed.frames[i])) for i in near])
    run, recipe = start_run(log, feed, config, pool=0, steps=config.steps)
    settings = dataclasses.replace(recipe.settings, capacity=max(recipe.settings.capacity, _CAPACITY))
    recipe = dataclasses.replace(recipe, settings=settings, radius=_RADIUS)
    shifts, parts = np.array([shift for _, shift in plan.views], np.float32), []
    for stop in plan.steps:
        run, recipe = train(run, stop, recipe, feed)
        clip = _render(run, recipe, feed, seen, config)
        steps = np.full(len(seen), stop, np.int32)
        parts.append(Pairs(truth=truth, nearest=nearest, shift=shifts, steps=steps, **clip))
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
