"""Project and its adjoint as one Pallas kernel each (Triton backend): every number is read and written once.

A program handles a block of Gaussians, one per thread, and runs the arithmetic of `reference` on columns in registers.
The adjoint differentiates that arithmetic inside its kernel, so the forward pass saves nothing.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jaxtyping import Float, Int

from kernels.common.pallas import Launch, launch, load_columns, program_rows, store_columns
from kernels.project.reference import project_columns
from kernels.project.spherical_harmonics import SH_BAND, basis_columns
from kernels.project.types import CameraMatrices, Gaussians3D, Lens, ProjectionOptions

BLOCK, WARPS = 128, 4  # Gaussians and warps of a program
OUTPUT_COLUMNS = (2, 3, 1, 1, 2, 3)  # columns of `Projected`
NUM_CAMERA = 17  # world-to-camera 3 x 4, then the five numbers of K


def forward(
    gaussians: Gaussians3D, camera: CameraMatrices, degree: Int[Array, ""], options: ProjectionOptions, interpret: bool
) -> list[Array]:
    """Compute the arrays of `Projected`.

    Args:
        gaussians: N Gaussians.
        camera: pose and intrinsics.
        degree: highest band of spherical harmonics.
        options: static options.
        interpret: run without a GPU.
    """
    N, coefficients, _ = gaussians.sh.shape
    shapes = [(N, n) if n > 1 else (N,) for n in OUTPUT_COLUMNS]
    kernel = functools.partial(_forward_kernel, coefficients=coefficients, options=options)
    how = Launch("project_forward", pl.cdiv(N, BLOCK), WARPS)
    return launch(kernel, how, shapes, *_flat(gaussians), *_scalars(camera, degree), interpret=interpret)


def adjoint(
    gaussians: Gaussians3D,
    camera: CameraMatrices,
    degree: Int[Array, ""],
    v: list[Array],
    options: ProjectionOptions,
    interpret: bool,
) -> list[Array]:
    """Compute the cotangents of `gaussians` and `camera` for the cotangents `v` of `Projected`; see `forward`."""
    N, coefficients, _ = gaussians.sh.shape
    flat = _flat(gaussians)
    shapes = [*(x.shape for x in flat), (pl.cdiv(N, BLOCK), NUM_CAMERA)]
    kernel = functools.partial(_adjoint_kernel, coefficients=coefficients, options=options)
    how = Launch("project_adjoint", pl.cdiv(N, BLOCK), WARPS)
    *parts, lens = launch(kernel, how, shapes, *flat, *_scalars(camera, degree), *v, interpret=interpret)
    parts[4] = parts[4].reshape(gaussians.sh.shape)
    numbers = jnp.sum(lens, 0)
    pose = jnp.zeros((4, 4)).at[:3].set(numbers[:12].reshape(3, 4))
    fx, fy, skew, cx, cy = numbers[12:]
    K = jnp.zeros((3, 3)).at[(0, 1, 0, 0, 1), (0, 1, 1, 2, 2)].set(jnp.stack([fx, fy, skew, cx, cy]))
    return [*parts, pose, K]


def _flat(gaussians: Gaussians3D) -> list[Array]:
    """List the arrays, with spherical harmonics as (N, 3 K)."""
    return [*gaussians[:4], gaussians.sh.reshape(gaussians.sh.shape[0], -1)]


def _scalars(camera: CameraMatrices, degree: Int[Array, ""]) -> tuple[Float[Array, "17"], Float[Array, "16"]]:
    """Compute the numbers of the camera in one row, and 1 for the bands in use."""
    return camera_numbers(camera), (jnp.array(SH_BAND) <= degree).astype(jnp.float32)


def camera_numbers(camera: CameraMatrices) -> Float[Array, "17"]:
    """Flatten a camera: the world-to-camera matrix without its last row, then fx, fy, skew, cx, cy."""
    pose, K = camera
    return jnp.concatenate([pose[:3].ravel(), jnp.stack([K[0, 0], K[1, 1], K[0, 1], K[0, 2], K[1, 2]])])


# ---- kernel bodies: every reference is the whole array


def _project(
    parameters: list[list[Array]], numbers: list[Array], bands: list[Array], options: ProjectionOptions
) -> list[list[Array]]:
    """Compute the columns of `Projected` from the columns of `Gaussians3D`; see `reference.project`."""
    means, quats, scales, opacity, sh = parameters
    every = [*means, *quats, *scales, *opacity, *sh]
    w, x, y, z = quats
    usable = (jnp.abs(sum(every[1:], every[0])) < jnp.inf) & (w * w + x * x + y * y + z * z > 1e-24)
    means, sh, opacity = ([jnp.where(usable, v, 0.0) for v in group] for group in (means, sh, opacity))
    quats = [jnp.where(usable, v, 1.0) for v in quats]
    camera = [numbers[4 * i : 4 * i + 4] for i in range(3)]
    in_camera = [row[0] * means[0] + row[1] * means[1] + row[2] * means[2] + row[3] for row in camera]
    fx, fy, skew, cx, cy = numbers[12:]
    lens = Lens(camera, fx, fy, skew, cx, cy)
    out = project_columns(usable, in_camera, quats, scales, opacity[0], lens, options)
    color = _color(means, camera, sh, bands)
    return [list(out.mean2d), list(out.conic), [out.opacity], [out.depth], list(out.extent), color]


def _color(means: list, camera: list, sh: list, bands: list) -> list[Array]:
    """Evaluate the color in the direction of the camera, which is constant under differentiation."""
    offset = [lax.stop_gradient(means[j] + sum(row[j] * row[3] for row in camera)) for j in range(3)]
    per_length = lax.rsqrt(jnp.maximum(offset[0] ** 2 + offset[1] ** 2 + offset[2] ** 2, 1e-24))
    basis = basis_columns(offset[0] * per_length, offset[1] * per_length, offset[2] * per_length, len(sh) // 3)
    weights = [b * band for b, band in zip(basis, bands, strict=False)]
    return [jnp.maximum(sum(w * sh[3 * k + c] for k, w in enumerate(weights)) + 0.5, 0.0) for c in range(3)]


def _inputs(refs: tuple, row: Array, coefficients: int) -> tuple[list[list[Array]], list[Array], list[Array]]:
    """Load the parameters of some Gaussians, the camera, and the mask of bands."""
    numbers = [refs[5][k] for k in range(NUM_CAMERA)]
    return [load_columns(ref, row) for ref in refs[:5]], numbers, [refs[6][k] for k in range(coefficients)]


def _forward_kernel(*refs: Any, coefficients: int, options: ProjectionOptions) -> None:
    row = program_rows(BLOCK)
    results = _project(*_inputs(refs, row, coefficients), options)
    for ref, values in zip(refs[7:], results, strict=True):
        store_columns(ref, row, values)


def _adjoint_kernel(*refs: Any, coefficients: int, options: ProjectionOptions) -> None:
    row = program_rows(BLOCK)
    parameters, numbers, bands = _inputs(refs, row, coefficients)
    exists = row < refs[0].shape[0]
    v = [[jnp.where(exists, x, 0.0) for x in load_columns(ref, row)] for ref in refs[7:13]]
    _, pullback = jax.vjp(lambda p, n: _project(p, n, bands, options), parameters, numbers)
    cotangents, camera = pullback(v)
    for ref, values in zip(refs[13:18], cotangents, strict=True):
        store_columns(ref, row, values)
    for k, value in enumerate(camera):
        refs[18][pl.program_id(0), k] = value
