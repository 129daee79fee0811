"""Views that a scene was not trained on, with their true images: what fixers are trained and scored on."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ff_jax.data.recording import Recording
from ff_jax.data.scene_data import Frame
from ff_jax.eig.config import NONE
from ff_jax.eig.scene_posterior import EigRender, ScenePosterior, fit_posterior
from ff_jax.eig.signals import RecordedScene
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.one_step import with_repaired
from ff_jax.fixers.triples import Triples, as_bytes
from ff_jax.pipeline.conditions import make_conditions
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.references import references_for, render_clip
from ff_jax.pipeline.signals import prepare_signals, steering
from ff_jax.pipeline.sources import source_frames
from ff_jax.scene import SceneModel, View
from ff_jax.train.batch import as_float
from ff_jax.train.batches import TrainBatches, view_of


def view_triples(
    model: SceneModel,
    batches: TrainBatches,
    frames: Sequence[Frame],
    fixer: Fixer,
    config: FuseConfig,
    skips: Sequence[int] = (0,),
) -> list[Triples]:
    """Render frames of a log; make one set of triples, in small types, for each of `skips`.

    With `config.pairs.lag`, a fixer that sees LiDAR gets a second set for each, whose LiDAR is of other time steps.

    Args:
        model: the scene.
        batches: the recorded frames that it was trained on; references and colors of LiDAR come from them.
        frames: of the same log, usually others; their images are the truth.
        fixer: decides which references are made.
        config: the settings.
        skips: numbers of recorded images nearest in time that re-projected references leave out.
    """
    posterior, recorded = fit_posterior(model, batches, config.eig.priors), batches.recording.frames
    padded = dataclasses.replace(batches.recording, frames=tuple(frames)).padded_frames
    near = [nearest_index(frame, recorded) for frame in frames]
    views = [view_of(frame, recorded[index].exposure_id) for frame, index in zip(padded, near, strict=True)]
    clip = render_clip(model, posterior, views)
    truth, weights = truth_of(batches.recording, frames)
    stored: dict[str, Any] = _stored_maps(model, posterior, batches, config, (clip, views, frames))
    if fixer.source != "render":
        stored["blend_eigs"] = np.full(clip.eig.shape, np.inf, np.float16)
    parts = []
    for lags, skip in itertools.product(_lags(fixer, config, len(frames)), skips):
        conditions = make_conditions(fixer.conditions, batches.recording, padded, views, model, lags)
        renders = np.asarray(as_bytes(source_frames(fixer.source, clip, conditions)))
        references = references_for(fixer, clip, views, near, posterior, batches, skip)
        small = references if fixer.use_separate_references else as_bytes(references)
        images: dict[str, Any] = {"renders": renders, "references": np.asarray(small), "targets": truth}
        images["weights"] = weights
        images["conditions"] = with_repaired(fixer, conditions, renders, stored["eigs"], images["references"])
        parts.append(Triples(**images, **stored))
    return parts


def _stored_maps(
    model: SceneModel,
    posterior: ScenePosterior,
    batches: TrainBatches,
    config: FuseConfig,
    inputs: tuple[EigRender, Sequence[View], Sequence[Frame]],
) -> dict[str, Any]:
    """Make the maps of triples in small types; None stands for `eigs`, and all are exact EIG by default."""
    names = config.eig.signals
    signals = prepare_signals(names, RecordedScene(model, batches, config.eig.priors, posterior))
    maps = steering(signals, *inputs)
    weight = None if names.weight == names.guidance != NONE else maps.weight
    stored = {"eigs": maps.guidance, "blend_eigs": maps.blend, "weight_eigs": weight}
    return {name: None if x is None else np.asarray(x).astype(np.float16) for name, x in stored.items()}


def _lags(fixer: Fixer, config: FuseConfig, count: int) -> list[list[int]]:
    """List the time steps from every view to the sweeps of its LiDAR condition, for each set of triples."""
    lag = config.pairs.lag if "lidar" in fixer.conditions else 0
    exact, alternating = [0] * count, [-lag if number % 2 else lag for number in range(count)]
    return [exact, alternating] if lag else [exact]


def truth_of(
    recording: Recording, frames: Sequence[Frame]
) -> tuple[UInt8[np.ndarray, "N H W 3"], UInt8[np.ndarray, "N H W"]]:
    """Load the images of frames as bytes, padded to one size, and their weights.

    Weights are 0 on what moves without an actor, on the ego vehicle and on padding.

    Args:
        recording: the recorded frames of the same log.
        frames: any frames of it.
    """
    held_out = TrainBatches(dataclasses.replace(recording, frames=tuple(frames), use_lidar=False))
    batches = [held_out.batch(index) for index in range(len(frames))]
    images = np.stack([np.asarray(as_bytes(as_float(batch.image))) for batch in batches])
    return images, np.stack([np.asarray(as_bytes(batch.weight)) for batch in batches])


def nearest_index(frame: Frame, recorded: Sequence[Frame]) -> int:
    """Find the index of the recorded frame nearest in time, of the same camera if several are."""
    distances = [(abs(other.time - frame.time), other.camera != frame.camera) for other in recorded]
    return distances.index(min(distances))
