"""Degraded views with their true images from synthetic streets: training and test data of fixers.

A street is reconstructed from few or many recorded views and for few or many steps, so that all degrees of degradation
occur. Views beside the recorded path are rendered with EIG, depth and references; the street gives the true images.
All streets have the same static shapes, so that one compilation serves all of them.

`build_from` makes pairs from a driving log. `street_plans` decides which views are recorded and rendered.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import Frame, SceneData
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.eig.scene_posterior import EigRender, fit_posterior
from ff_jax.fixers.pair_files import Pairs
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.held_out_views import nearest_index, truth_of
from ff_jax.pipeline.initialize import initialize, make_recording
from ff_jax.pipeline.references import render_clip, separate_references
from ff_jax.pipeline.street_plans import StreetPlan
from ff_jax.train.batches import TrainBatches, view_of
from ff_jax.train.loop import TrainPlan, train
from ff_jax.train.state import LoopState

_CAPACITY = 1 << 17  # tile intersections; one that changed with the street would be compiled again


def build(config: FuseConfig, seed: int, plan: StreetPlan) -> Pairs:
    """Build the pairs of one street, those of the first of `plan.steps` first.

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
    frames: Sequence[Frame],
    shifts: Sequence[float],
    stops: Sequence[int],
) -> Pairs:
    """Build the pairs of a log, those of the first of `stops` first.

    Args:
        config: reconstruction.
        log: the driving log.
        recorded: frames that it is reconstructed from.
        frames: frames that are rendered; their images are the truth.
        shifts: meters of every one of them to the left of the recorded path, which is kept beside it.
        stops: training steps after which views are rendered, in order.
    """
    batches = TrainBatches(make_recording(log, config, recorded))
    truth, weight = truth_of(batches.recording, frames)
    frames = dataclasses.replace(batches.recording, frames=tuple(frames)).padded_frames
    padded = batches.recording.padded_frames
    nearest = np.stack([_bytes(load_image(padded[nearest_index(frame, padded)])) for frame in frames])
    fixed = {"truth": truth, "weight": weight, "nearest": nearest, "shift": np.array(shifts, np.float32)}
    fixed["K"] = np.stack([frame.K for frame in frames]).astype(np.float32)
    fixed["world_from_camera"] = np.stack([frame.world_from_camera for frame in frames]).astype(np.float64)
    state, train_plan = initialize(batches.recording, config, pseudo_views=0, steps=config.steps)
    train_plan = train_plan.with_capacity(max(train_plan.settings.capacity, _CAPACITY))
    parts = []
    for stop in stops:
        state, train_plan = train(state, stop, train_plan, batches)
        clip = _render(state, train_plan, batches, frames, config)
        parts.append(Pairs(steps=np.full(len(frames), stop, np.int32), **fixed, **clip))
    return Pairs(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def _street(config: FuseConfig, seed: int, plan: StreetPlan) -> tuple[SceneData, dict[tuple[int, float], Frame]]:
    """Make the log of the recorded time steps, and frames by time index and shift."""
    data = config.data
    world = StreetConfig(num_frames=data.frames, moving=False)
    shifts = sorted({shift for _, shift in plan.views})
    log = street_log(seed, world, data.width, data.height, test_shifts=tuple(shifts))
    order = [0.0, *(shift for shift in shifts if shift != 0)]
    places = [(time, shift) for shift in order for time in range(data.frames)]
    frames = dict(zip(places, log.frames, strict=True))
    recorded = tuple(frames[time, 0.0] for time in plan.recorded)
    sweeps = tuple(sweep for sweep in log.sweeps if sweep.time_index in plan.recorded)
    return dataclasses.replace(log, frames=recorded, sweeps=sweeps), frames


def _render(
    state: LoopState, plan: TrainPlan, batches: TrainBatches, frames: Sequence[Frame], config: FuseConfig
) -> dict[str, Shaped[np.ndarray, "N ..."]]:
    """Render the views of some frames with EIG and re-projected references."""
    model = plan.model(state.train)
    posterior = fit_posterior(model, batches, config.eig.priors)
    views = [view_of(frame, frame.exposure_id) for frame in frames]
    clip = render_clip(model, posterior, views)
    return _stored(clip) | {"separate": np.asarray(separate_references(clip, views, posterior, batches))}


def _stored(clip: EigRender) -> dict[str, Shaped[np.ndarray, "N ..."]]:
    small = {name: np.asarray(array).astype(np.float16) for name, array in (("eig", clip.eig), ("depth", clip.depth))}
    return {"render": _bytes(np.asarray(clip.rgb))} | small


def _bytes(image: Float[np.ndarray, "*N H W 3"]) -> UInt8[np.ndarray, "*N H W 3"]:
    return np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
