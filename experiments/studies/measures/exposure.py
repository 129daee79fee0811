"""Measures of the study of exposure drift: held-out frames, and the drift that is absorbed."""

import dataclasses
from typing import Protocol

import numpy as np
from jaxtyping import Float

from ff_jax.data.loader import load_image
from ff_jax.data.recording import train_frames
from ff_jax.data.scene_data import Frame, SceneData
from ff_jax.evaluation.shifted_views import exposure_between, nearest_recorded
from ff_jax.metrics.image import psnr
from ff_jax.scene import Scene
from ff_jax.scene.exposure import ExposureBlend

Array = np.ndarray


class FrameRenderer(Protocol):
    """Renders the view of a frame with an exposure."""

    def __call__(self, frame: Frame, *, exposure: int | ExposureBlend) -> Float[Array, "H W 3"]:
        """Render a frame; colors in [0, 1]."""
        ...


def per_image(log: SceneData) -> SceneData:
    """Give each image an exposure of its own."""
    frames = tuple(dataclasses.replace(frame, exposure_id=i) for i, frame in enumerate(log.frames))
    return dataclasses.replace(log, frames=frames)


def shared(log: SceneData) -> SceneData:
    """Give all images one exposure."""
    return dataclasses.replace(log, frames=tuple(dataclasses.replace(frame, exposure_id=0) for frame in log.frames))


def held_out_psnr(render: FrameRenderer, log: SceneData) -> dict[str, float]:
    """Measure the PSNR (dB) of the held-out frames of a log with three estimates of their unknown exposure.

    `nearest` is the exposure of the training frame nearest in time; `between` is interpolated between the two frames
    around it, as in all evaluations (`shifted_views.targets`); `fitted` is the affine color map with the least error,
    which leaves only the errors of the scene.
    """
    rows = []
    for frame in (frame for frame in log.frames if frame.split == "test"):
        truth = load_image(frame)
        nearest = render(frame, exposure=nearest_recorded(frame, log).exposure_id)
        between = render(frame, exposure=exposure_between(frame, log))
        rows.append([psnr(image, truth) for image in (nearest, between, best_affine(nearest, truth))])
    return dict(zip(("nearest", "between", "fitted"), np.mean(rows, 0, float).tolist(), strict=True))


def best_affine(image: Float[Array, "H W 3"], truth: Float[Array, "H W 3"]) -> Float[Array, "H W 3"]:
    """Apply the affine color map to `image` that is nearest to `truth` (least squares); clip to [0, 1]."""
    rows = np.pad(image.reshape(-1, 3).astype(float), ((0, 0), (0, 1)), constant_values=1)
    matrix = np.linalg.lstsq(rows, truth.reshape(-1, 3).astype(float), rcond=None)[0]
    return np.clip(rows @ matrix, 0, 1).reshape(image.shape).astype(np.float32)


def exposure_errors(scene: Scene, log: SceneData, exposures: Float[Array, "T 2"]) -> dict[str, float]:
    """Measure the errors of exposures before and after training: root mean square over frames, of colors in [0, 1].

    The mean over frames is left out: it belongs to the scene.

    Args:
        scene: trained on the log.
        log: the log with an exposure per image.
        exposures: gain and bias of each time index.
    """
    frames = train_frames(log)
    gray = np.array([0.2, 0.5, 0.8])
    applied = np.stack([gain * gray + bias for gain, bias in exposures[[f.time_index for f in frames]]])
    deltas = np.asarray(scene.params.exposure)[[f.exposure_id for f in frames]]
    learned = gray + deltas[:, :, :3].sum(-1).mean(-1)[:, None] * gray + deltas[:, :, 3].mean(-1)[:, None]
    return {"before": _rms_about_mean(applied), "after": _rms_about_mean(applied - learned)}


def _rms_about_mean(values: Float[Array, "F C"]) -> float:
    return float(np.sqrt(np.mean((values - values.mean(0)) ** 2)))
