"""Training pairs for `self_fit`, made from the log alone.

A reconstruction from few of the frames is bad at the others for the same reasons as the full one is bad off the
lane; there the truth is known.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp

from ff_jax.data.scene_data import Frame, SceneData
from ff_jax.eig.scene_posterior import learn
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.reprojection import AlignConfig
from ff_jax.fixers.self_fit import Triples
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.fix_event import aligned_references, references_for, render_clip
from ff_jax.pipeline.initialize import make_feed, start_run
from ff_jax.pipeline.phases import is_begun, run_phase
from ff_jax.train.batches import Feed, view_of
from ff_jax.train.step import as_float


def split_thin(frames: tuple[Frame, ...], every: int) -> tuple[tuple[Frame, ...], tuple[Frame, ...]]:
    """Keep one time step in `every` (the first among them) and hold the others out.

    Raises:
        ValueError: nothing would be held out, or fewer than two time steps kept.
    """
    steps = sorted({frame.time_index for frame in frames})
    keep = set(steps[::every])
    if every < 2 or len(keep) < 2 or len(keep) == len(steps):
        raise ValueError(
            f"thin.every={every} of {len(steps)} time steps keeps {len(keep)}: choose it so that at least two "
            "are kept and one is held out."
        )
    kept = tuple(frame for frame in frames if frame.time_index in keep)
    return kept, tuple(frame for frame in frames if frame.time_index not in keep)


def thin_triples(log: SceneData, feed: Feed, fixer: Fixer, config: FuseConfig, folder: Path) -> Triples:
    """Reconstruct from a thinned log and return (render, EIG, reference, truth) of the held-out views.

    References are what `fixer` asks for, made from the kept frames only; aligned ones come twice, the second time
    without the `thin.skip` nearest frames.
    """
    kept, held = split_thin(feed.frames, config.thin.every)
    thin = make_feed(log, kept, config)
    recon = dataclasses.replace(config.recon, density=_shortened(config))
    config = dataclasses.replace(config, recon=recon)
    run, recipe = start_run(log, thin, config, pool=0, steps=config.thin.steps, shapes_only=is_begun(folder))
    run, recipe = run_phase(folder, "thinned reconstruction", run, recipe, config.thin.steps, thin, config)
    scene, degree = run.state.scene, min(config.thin.steps // recipe.recon.sh_every, recipe.recon.sh_degree)
    known = learn(scene, thin, recipe.settings, degree, config.eig.priors)

    def nearest(frame: Frame) -> int:
        return min(range(len(kept)), key=lambda i: (abs(kept[i].time - frame.time), kept[i].camera != frame.camera))

    near = [nearest(frame) for frame in held]
    views = [view_of(frame, kept[i].exposure_id) for frame, i in zip(held, near, strict=True)]
    clip = render_clip(scene, known, views, recipe.settings, degree)
    clip = clip._replace(rgb=jnp.clip(clip.rgb, 0.0, 1.0))
    truth = make_feed(log, held, config)
    once = Triples(
        renders=clip.rgb,
        eigs=clip.eig,
        references=references_for(fixer, clip, views, near, known, thin),
        targets=jnp.stack([as_float(truth.batch(i).image) for i in range(len(held))]),
    )
    if not fixer.aligned or not 0 < config.thin.skip < len(kept) - 1:
        return once
    farther = aligned_references(clip, views, known, thin, AlignConfig(), config.thin.skip)
    return interleaved(once, once.replace(references=farther))


def interleaved(first: Triples, second: Triples) -> Triples:
    """Return the triples of both in turn, so that neighbours stay neighbours in time."""
    merge = lambda a, b: jnp.stack([a, b], 1).reshape(-1, *a.shape[1:])
    return jax.tree.map(merge, first, second)


def _shortened(config: FuseConfig):
    """Return the density settings with their end scaled to the length of the thinned reconstruction."""
    density = config.recon.density
    return dataclasses.replace(density, stop=round(density.stop * config.thin.steps / config.steps))
