"""Captured splats for benchmarks: Gaussians of a SOG file, and a camera that sees all of them."""

from pathlib import Path

import numpy as np
from scipy.special import expit

from ff_jax.export.formats import sog


def read_sog(folder: Path) -> dict[str, np.ndarray]:
    """Read the Gaussians of a SOG file or folder as the fields of `kernels.project.Gaussians3D`.

    Returns:
        means (N, 3), quats (N, 4) wxyz, scales (N, 3), opacities (N,) and sh (N, K, 3): float32, in the units of the
        file.
    """
    gaussians = sog.read(folder).gaussians
    splats = {
        "means": gaussians.means,
        "quats": gaussians.quats,
        "scales": np.exp(gaussians.log_scales),
        "opacities": expit(gaussians.logit_opacities),
        "sh": gaussians.sh,
    }
    return {name: array.astype(np.float32) for name, array in splats.items()}


def add_camera(splats: dict[str, np.ndarray], width: int, height: int) -> dict[str, np.ndarray]:
    """Add a camera that sees all of the splats, a little from above (the y axis of these files points down)."""
    center = np.percentile(splats["means"], [2, 98], axis=0).mean(0)
    radius = np.percentile(np.linalg.norm(splats["means"] - center, axis=-1), 98)
    forward = np.array([0.3, 0.3, -1.0]) / np.linalg.norm([0.3, 0.3, -1.0])
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    focal = 0.9 * width
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ (center - forward * 1.6 * radius * focal / height)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return splats | {"camera_from_world": pose.astype(np.float32), "K": K.astype(np.float32)}
