"""Tiny scenes that several tests share."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ff_jax.render.camera import Camera, make_camera
from ff_jax.render.gaussians import Gaussians, WorldGaussians
from ff_jax.scene import PointCloud, Scene, SceneSizes, View, init_scene
from ff_jax.train.batch import Batch

# The problems are tiny: compiling takes most of the time.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def normal(rng: np.random.Generator, *shape: int, std: float = 1.0) -> jax.Array:
    """Draw normal float32 numbers."""
    return jnp.asarray(rng.normal(0, std, shape), jnp.float32)


def random_gaussians(
    rng: np.random.Generator,
    count: int,
    *,
    box: Sequence[Sequence[float]] = ((-1.2, -1, 3), (1.2, 1, 6)),
    stds: tuple[float, float] = (0.15, 0.7),
    logits: tuple[float, float] = (-1.5, 2.5),
    coefficients: int = 4,
    color_std: float = 0.15,
    brightness: float = 0.4,
    dtype: type = np.float32,
) -> Gaussians:
    """Draw overlapping Gaussians ahead of a camera at the origin.

    Args:
        rng: random generator.
        count: number of Gaussians.
        box: corners of the box of the means, meters.
        stds: range of the standard deviations, meters.
        logits: range of the logit opacities.
        coefficients: spherical harmonics per channel.
        color_std: standard deviation of the coefficients.
        brightness: mean of the constant coefficient; 0.4 keeps most colors away from the clipping at 0.
        dtype: of all arrays.
    """
    constant = brightness * (np.arange(coefficients) == 0)[:, None]
    fields = dict(
        means=rng.uniform(*box, (count, 3)),
        quats=rng.normal(size=(count, 4)),
        log_scales=rng.uniform(*np.log(stds), (count, 3)),
        logit_opacities=rng.uniform(*logits, count),
        sh=rng.normal(0, color_std, (count, coefficients, 3)) + constant,
    )
    return Gaussians(**{name: jnp.asarray(array, dtype) for name, array in fields.items()})


def random_world(rng: np.random.Generator, count: int, num_dead: int = 1, **options) -> WorldGaussians:
    """Draw `random_gaussians`, the last ones dead."""
    return WorldGaussians(random_gaussians(rng, count, **options), jnp.arange(count) < count - num_dead)


def pinhole(width: int, height: int, focal: float, x: float = 0.0, y: float = 0.0, yaw: float = 0.0) -> Camera:
    """Make a camera near the origin that looks along z, rotated by `yaw` radians."""
    pose = np.eye(4)
    pose[[0, 0, 2, 2], [0, 2, 0, 2]] = np.cos(yaw), np.sin(yaw), -np.sin(yaw), np.cos(yaw)
    pose[:3, 3] = x, y, 0
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return make_camera(K, pose, width, height)


def pixel_centers(camera: Camera) -> jax.Array:
    """Return the centers (x, y) of all pixels, row by row."""
    y, x = jnp.indices((camera.height, camera.width)) + 0.5
    return jnp.stack([x, y], -1).reshape(-1, 2)


def make_view(camera: Camera, *, exposure: int = 0, frame: int = -1, rig: int = -1, time: float = 0.0) -> View:
    """Make a view; by default one that is not recorded."""
    return View(camera, jnp.int32(exposure), jnp.int32(frame), jnp.int32(rig), jnp.float32(time))


def scene_from_points(xyz: np.ndarray, rgb: np.ndarray, std: float, capacity: int, **sizes: int) -> Scene:
    """Make a scene of one Gaussian per point; the default sizes are 1, with two color bands."""
    points = PointCloud(*(jnp.asarray(array, jnp.float32) for array in (xyz, rgb, np.full(len(xyz), std))))
    return init_scene(jax.random.key(0), points, SceneSizes(capacity, **{"sh_degree": 1} | sizes))


def make_batch(image: jax.Array, view: View, weight: float = 1.0, novel: bool = False) -> Batch:
    """Make a batch without sky, LiDAR or actors."""
    zeros, nowhere = jnp.zeros(image.shape[:2]), jnp.zeros(image.shape[:2], bool)
    return Batch(image, zeros + weight, view, nowhere, jnp.bool_(False), zeros, jnp.bool_(novel), nowhere)
