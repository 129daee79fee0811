"""Training pairs for `self_fit`, made from the log alone.

A reconstruction from a part of the frames has, at the held-out frames, errors like those of the full reconstruction
off the lane; there the true image exists.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp

from ff_jax.data.scene_data import Frame
from ff_jax.eig.scene_posterior import fit_posterior
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.self_fit import Triples
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.initialize import initialize, make_recording
from ff_jax.pipeline.phases import Phase, run_phase
from ff_jax.pipeline.references import aligned_references, references_for, render_clip
from ff_jax.runtime.stop import StopRequest
from ff_jax.train.batch import as_float
from ff_jax.train.batches import TrainBatches, view_of
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
    """Reconstruct from a part of the frames; return (render, EIG, reference, truth) of the held-out views.

    References are those that `fixer` needs, made from the other frames only. Re-projected ones come twice, the second
    time without the `pairs.skip` nearest frames.

    Args:
        batches: the recorded frames.
        fixer: the fixer to train.
        config: the settings.
        folder: of the reconstruction.
        request: ends it early.
    """
    log, frames = batches.recording.log, batches.recording.frames
    subset, held_out = split_frames(frames, config.pairs.every)
    batches = TrainBatches(make_recording(log, config, subset))
    config = dataclasses.replace(config, recon=dataclasses.replace(config.recon, density=_shortened(config)))
    phase = Phase(folder, "subsampled reconstruction", config.pairs.steps, request=request)
    state, plan = initialize(
        batches.recording, config, pseudo_views=0, steps=config.pairs.steps, shapes_only=phase.is_begun
    )
    state, plan = run_phase(phase, state, plan, batches, config)
    model = plan.model(state.train, config.pairs.steps)
    posterior = fit_posterior(model, batches, config.eig.priors)

    def nearest(frame: Frame) -> int:
        return min(
            range(len(subset)), key=lambda i: (abs(subset[i].time - frame.time), subset[i].camera != frame.camera)
        )

    near = [nearest(frame) for frame in held_out]
    truth = TrainBatches(make_recording(log, config, held_out))
    padded = zip(truth.recording.padded_frames, near, strict=True)
    views = [view_of(frame, subset[i].exposure_id) for frame, i in padded]
    clip = render_clip(model, posterior, views)
    pairs = Triples(
        renders=clip.rgb,
        eigs=clip.eig,
        references=references_for(fixer, clip, views, near, posterior, batches),
        targets=jnp.stack([as_float(truth.batch(i).image) for i in range(len(held_out))]),
    )
    if not fixer.use_aligned_references or not 0 < config.pairs.skip < len(subset) - 1:
        return pairs
    farther = aligned_references(clip, views, posterior, batches, config.pairs.skip)
    return interleave(pairs, dataclasses.replace(pairs, references=farther))


def interleave(first: Triples, second: Triples) -> Triples:
    """Interleave the pairs of both, so that neighbors stay neighbors in time."""
    return jax.tree.map(lambda a, b: jnp.stack([a, b], 1).reshape(-1, *a.shape[1:]), first, second)


def _shortened(config: FuseConfig) -> DensityConfig:
    """Scale the end of density control to the length of the subsampled reconstruction."""
    density = config.recon.density
    return dataclasses.replace(density, stop=round(density.stop * config.pairs.steps / config.steps))
