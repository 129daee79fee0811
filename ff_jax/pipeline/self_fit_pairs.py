"""Training pairs for `self_fit`, made from the log alone.

A reconstruction from a part of the frames has, at the held-out frames, errors like those of the full reconstruction
off the lane; there the true image exists. A restorer is trained on an under-trained reconstruction at the recorded
frames instead (ReconDreamer, arXiv 2411.19548).
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np

from ff_jax.data.scene_data import Frame
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.triples import Triples
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.held_out_views import view_triples
from ff_jax.pipeline.initialize import initialize, make_recording
from ff_jax.pipeline.phases import Phase, run_phase
from ff_jax.pipeline.scene_file import from_points
from ff_jax.runtime.stop import StopRequest
from ff_jax.train.batches import TrainBatches
from ff_jax.train.densify.mcmc import DensityConfig


def split_frames(frames: tuple[Frame, ...], every: int) -> tuple[tuple[Frame, ...], tuple[Frame, ...]]:
    """Keep one time step in `every` (the first among them) and hold the others out.

    Raises:
        ValueError: nothing would be held out, or fewer than two time steps kept.
    """
    steps = sorted({frame.time_index for frame in frames})
    keep = set(steps[::every])
    if every < 2 or len(keep) < 2 or len(keep) == len(steps):
        raise ValueError(
            f"pairs.every={every} of {len(steps)} time steps keeps {len(keep)}: choose it so that at least two "
            "are kept and one is held out."
        )
    subset = tuple(frame for frame in frames if frame.time_index in keep)
    return subset, tuple(frame for frame in frames if frame.time_index not in keep)


def self_fit_pairs(
    batches: TrainBatches, fixer: Fixer, config: FuseConfig, folder: Path, request: StopRequest
) -> Triples:
    """Reconstruct, and return (render, EIG, references, truth) of held-out views, or of recorded ones.

    Usually a part of the frames is reconstructed. The others are rendered halfway through that reconstruction and at
    its end, because renders are fixed at several stages of a run. References are those that `fixer` needs, made from
    the frames of the reconstruction only. Re-projected ones come twice, the second time without the `pairs.skip`
    nearest frames. With `pairs.stops`, all frames are reconstructed as in the run itself, and are rendered after these
    steps. What moves without a box has weight 0.

    Args:
        batches: the recorded frames.
        fixer: the fixer to train or to measure.
        config: the settings.
        folder: of the reconstruction; those of its earlier stops are beside it.
        request: ends it early.

    Returns:
        Triples in small types, ordered by time.
    """
    frames, pairs = batches.recording.frames, config.pairs
    subset, rendered = (frames, frames) if pairs.stops else split_frames(frames, pairs.every)
    stops = sorted({*(pairs.stops or (max(pairs.steps // 2, 1), pairs.steps))})
    config, steps, names = from_points(config), config.steps, [f"_{stop}" for stop in stops]
    if not pairs.stops:
        config = dataclasses.replace(config, recon=dataclasses.replace(config.recon, density=_shortened(config)))
        steps, names = pairs.steps, ["_early"] * len(stops)
    phases = [
        Phase(Path(f"{folder}{name}"), f"{folder.name} reconstruction", stop, request=request)
        for stop, name in zip(stops, [*names[:-1], ""], strict=True)
    ]
    batches = TrainBatches(make_recording(batches.recording.log, config, subset))
    state, plan = initialize(batches.recording, config, pseudo_views=0, steps=steps, shapes_only=phases[0].is_begun)
    is_projected = fixer.use_aligned_references or fixer.use_separate_references
    has_far = is_projected and 0 < pairs.skip < len(subset) - 1
    parts: list[Triples] = []
    for phase in phases:
        state, plan = run_phase(phase, state, plan, batches, config)
        model = plan.model(state.train, phase.stop)
        parts += view_triples(model, batches, rendered, fixer, config, (0, pairs.skip) if has_far else (0,))
    return interleave(*parts)


def interleave(*parts: Triples) -> Triples:
    """Interleave sets of triples of the same views, so that neighbors stay neighbors in time."""
    return jax.tree.map(lambda *arrays: np.stack(arrays, 1).reshape(-1, *arrays[0].shape[1:]), *parts)


def _shortened(config: FuseConfig) -> DensityConfig:
    """Scale the end of density control to the length of the subsampled reconstruction."""
    density = config.recon.density
    return dataclasses.replace(density, stop=round(density.stop * config.pairs.steps / config.steps))
