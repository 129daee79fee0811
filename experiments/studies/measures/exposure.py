"""What the study of drifting exposures measures, on streets whose truth is known."""

import dataclasses

import numpy as np
from jaxtyping import Float

from experiments.studies.measures.actors import Trained
from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import SceneData
from ff_jax.evaluation.shifted_views import exposure_between, recorded_neighbour
from ff_jax.metrics.image import psnr

Array = np.ndarray


def per_image(log: SceneData) -> SceneData:
    """Return the log with an exposure for every image."""
    frames = tuple(dataclasses.replace(frame, exposure_id=i) for i, frame in enumerate(log.frames))
    return dataclasses.replace(log, frames=frames)


def shared(log: SceneData) -> SceneData:
    """Return the log with one exposure for all images."""
    return dataclasses.replace(log, frames=tuple(dataclasses.replace(frame, exposure_id=0) for frame in log.frames))


def held_out(run: Trained, log: SceneData) -> dict[str, float]:
    """Return the PSNR (dB) of the held-out frames, whose exposures nobody knows, with three guesses.

    `nearest` is that of the recorded frame nearest in time, `between` is interpolated between the two frames around
    it, as in every evaluation (`evaluate.targets`), and `fitted` the affine map of colours that suits the frame
    best, which leaves the errors of the scene alone.
    """
    rows = []
    for frame in (frame for frame in log.frames if frame.split == "test"):
        truth = load_image(frame)
        nearest = run.picture(frame, exposure=recorded_neighbour(frame, log).exposure_id)
        between = run.picture(frame, exposure=exposure_between(frame, log))
        rows.append([psnr(seen, truth) for seen in (nearest, between, best_affine(nearest, truth))])
    return dict(zip(("nearest", "between", "fitted"), np.mean(rows, 0, float).tolist(), strict=True))


def best_affine(seen: Float[Array, "H W 3"], truth: Float[Array, "H W 3"]) -> Float[Array, "H W 3"]:
    """Return the affine map of the colours `seen` that is nearest to `truth` (least squares), in [0, 1]."""
    rows = np.pad(seen.reshape(-1, 3).astype(float), ((0, 0), (0, 1)), constant_values=1)
    matrix = np.linalg.lstsq(rows, truth.reshape(-1, 3).astype(float), rcond=None)[0]
    return np.clip(rows @ matrix, 0, 1).reshape(seen.shape).astype(np.float32)


def absorbed(run: Trained, log: SceneData, exposures: Float[Array, "T 2"]) -> dict[str, float]:
    """Return how far exposures are off before and after learning: root mean square over frames, of colours in [0, 1].

    What all frames share belongs to the scene and is left out.

    Args:
        run: trained on the log.
        log: whose images went through an exposure each.
        exposures: gain and bias of every time index.
    """
    frames = [f for f in log.frames if f.split == "train"]
    grey = np.array([0.2, 0.5, 0.8])
    applied = np.stack([gain * grey + bias for gain, bias in exposures[[f.time_index for f in frames]]])
    deltas = np.asarray(run.scene.params.exposure)[[f.exposure_id for f in frames]]
    learnt = grey + deltas[:, :, :3].sum(-1).mean(-1)[:, None] * grey + deltas[:, :, 3].mean(-1)[:, None]
    spread = lambda values: float(np.sqrt(np.mean((values - values.mean(0)) ** 2)))
    return {"before": spread(applied), "after": spread(applied - learnt)}
