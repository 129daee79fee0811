"""Degraded views with their truth from built-in streets: what a generator is trained and judged on.

A street is reconstructed from recorded views, few or many of them and for few or many steps, so that all degrees of
degradation occur; views beside the recorded path are rendered with EIG, depth and references, and the world gives the
truth. All streets share every static shape, so that nothing is compiled for a second one.

A driving log gives pairs too (`build_from`). What is recorded and rendered is planned in `street_plans`.
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import Frame, SceneData
from ff_jax.data.synthetic import WorldConfig
from ff_jax.data.synthetic.driving_log import world_scene
from ff_jax.eig.scene_posterior import Clip, learn
from ff_jax.fixers.pair_files import Pairs
from ff_jax.fixers.reprojection import AlignConfig
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.fix_event import aligned_references, render_clip
from ff_jax.pipeline.initialize import make_feed, start_run
from ff_jax.pipeline.street_plans import Plan
from ff_jax.train.batches import Feed, view_of
from ff_jax.train.loop import Recipe, Run, train

_CAPACITY = 1 << 17  # tile intersections; one that changed with the street would be compiled again


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
    return build_from(config, log, recorded, [frames[view] for view in plan.views], shifts, plan.steps)


def build_from(
    config: FuseConfig,
    log: SceneData,
    recorded: tuple[Frame, ...],
    seen: Sequence[Frame],
    shifts: Sequence[float],
    stops: Sequence[int],
) -> Pairs:
    """Return the pairs of a log, those of the first of `stops` first.

    Args:
        config: reconstruction.
        log: the driving log.
        recorded: frames that it is reconstructed from.
        seen: frames that are rendered; their images are the truth.
        shifts: metres of every one of them to the left of the recorded path, which is kept beside it.
        stops: training steps after which views are rendered, in order.
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
    recipe = dataclasses.replace(recipe, settings=settings)
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
