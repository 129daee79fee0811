"""Scenes that tests and benchmarks share: random Gaussians in front of one camera."""

import re
from typing import NamedTuple

import numpy as np

from kernels.project.types import CameraMatrices, Gaussians3D


class SceneSpec(NamedTuple):
    """A random scene; `make_scene` samples it."""

    gaussians: int
    width: int  # px
    height: int  # px
    extent: tuple[float, float, float] = (2.0, 2.0, 2.0)  # half-size of the box of means, meters
    max_scale: float = 0.02  # meters; scales are uniform between 0 and this
    distance: float = 4.0  # of the camera from the center of the box, meters
    sh_degree: int = 0
    focal: float = 0.8  # in image widths


TINY = SceneSpec(48, 37, 29, max_scale=0.4, sh_degree=1)

# A walled-in object of 112k Gaussians, and 25 of them side by side: the sizes of the usual rasterizer
# benchmark.
BENCHMARKS = {
    "20k_208x128": SceneSpec(20_000, 208, 128, (4.0, 2.0, 5.0), 0.06, 6.0),
    "50k_640x192": SceneSpec(50_000, 640, 192, (4.0, 2.0, 5.0), 0.06, 6.0),
    "112k_1920x1080": SceneSpec(112_000, 1920, 1080),
    "2.8m_1920x1080": SceneSpec(2_800_000, 1920, 1080, (10.0, 2.0, 10.0)),
    "6m_3840x2160": SceneSpec(6_000_000, 3840, 2160, (10.0, 2.0, 10.0)),
}

_RANDOM = re.compile(r"(\d+)_(\d+)x(\d+)")
SCENE_NAMES = f"{', '.join(BENCHMARKS)}, or GAUSSIANS_WIDTHxHEIGHT"


def named_scene(name: str) -> SceneSpec:
    """Look up the scene of a name: one of `BENCHMARKS`, or GAUSSIANS_WIDTHxHEIGHT such as 300_64x48.

    Raises:
        ValueError: if the name is neither.
    """
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    match = _RANDOM.fullmatch(name)
    if match is None:
        raise ValueError(f"unknown scene {name}: expected one of {SCENE_NAMES}.")
    gaussians, width, height = map(int, match.groups())
    return SceneSpec(gaussians, width, height, max_scale=0.1)


def make_scene(spec: SceneSpec, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Sample the fields of `Gaussians3D` and `CameraMatrices`; the camera looks roughly along z."""
    N, half = spec.gaussians, np.array(spec.extent)
    quats = rng.standard_normal((N, 4))
    angle = rng.uniform(-0.1, 0.1)
    pose = np.eye(4)
    pose[[0, 0, 2, 2], [0, 2, 0, 2]] = np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)
    pose[:3, 3] = (*rng.uniform(-0.1, 0.1, 2), spec.distance)
    focal = spec.focal * spec.width
    K = np.array([[focal, 0, spec.width / 2], [0, focal, spec.height / 2], [0, 0, 1]])
    scene = {
        "means": rng.uniform(-half, half, (N, 3)),
        "quats": quats / np.linalg.norm(quats, axis=-1, keepdims=True),
        "scales": rng.uniform(0.01, 1, (N, 3)) * spec.max_scale,
        "opacities": rng.uniform(0, 1, N),
        "sh": rng.normal(0, 0.5, (N, (spec.sh_degree + 1) ** 2, 3)),
        "camera_from_world": pose,
        "K": K,
    }
    return {name: array.astype(np.float32) for name, array in scene.items()}


def scene_records(scene: dict) -> tuple[Gaussians3D, CameraMatrices]:
    """Group the arrays of `make_scene` as the records that `project` takes."""
    gaussians = Gaussians3D(*(scene[name] for name in Gaussians3D._fields))
    return gaussians, CameraMatrices(scene["camera_from_world"], scene["K"])
