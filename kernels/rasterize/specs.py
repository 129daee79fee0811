"""Random projected Gaussians for tests, in difficult cases for a rasterizer."""

from typing import NamedTuple

import numpy as np

from kernels.project.types import Projected

CASES = ("random", "opaque", "transparent", "subpixel", "huge")


class SplatSpec(NamedTuple):
    """A random set of projected Gaussians; `make_splats` samples it."""

    gaussians: int = 150
    width: int = 21  # px; not a multiple of a tile
    height: int = 18
    channels: int = 4
    case: str = "random"


def make_splats(spec: SplatSpec, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Sample mean2d, conic, opacity, features, depth and extent; some are culled, some outside the image."""
    N = spec.gaussians
    size = {"subpixel": (0.3, 0.5), "huge": (30.0, 3000.0)}.get(spec.case, (0.6, 6.0))
    sigma = np.exp(rng.uniform(np.log(size[0]), np.log(size[1]), (N, 2)))
    angle = rng.uniform(0, np.pi, N)
    axes = np.stack([np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)], -1).reshape(N, 2, 2)
    covariance = np.einsum("nki,nk,nkj->nij", axes, sigma**2, axes)
    inverse = np.linalg.inv(covariance)
    # Screen-filling Gaussians stay transparent: their gradients are small differences over all pixels, which the
    # early stop would dominate; "opaque" is the case that saturates.
    low, high = {"opaque": (0.9, 0.9999), "transparent": (0.0, 0.0), "huge": (0.0, 0.1)}.get(spec.case, (0.0, 0.6))
    opacity = rng.uniform(low, high, N)
    opacity = np.where(rng.uniform(size=N) < 0.1, 0.0, opacity)
    level = np.log(np.maximum(opacity * 255, 1.0))
    splats = {
        "mean2d": rng.uniform([-4, -4], [spec.width + 4, spec.height + 4], (N, 2)),
        "conic": np.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], -1),
        "opacity": opacity,
        "features": rng.normal(size=(N, spec.channels)),
        "depth": rng.uniform(1, 50, N),
        "extent": np.sqrt(2 * level[:, None] * np.stack([covariance[:, 0, 0], covariance[:, 1, 1]], -1)),
    }
    return {name: array.astype(np.float32) for name, array in splats.items()}


def projected_of(splats: dict) -> Projected:
    """Group the arrays of `make_splats` as the record that the ops take; the first three features are the color."""
    return Projected(*(splats[name] for name in Projected._fields[:-1]), color=splats["features"][:, :3])
