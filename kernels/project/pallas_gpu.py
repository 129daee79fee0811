"""Project and its adjoint as one Pallas kernel each (Triton backend): every number is read and written once.

A program takes a block of Gaussians, one a thread, and runs the arithmetic of `reference` on columns in registers. The
adjoint differentiates that arithmetic where it stands, so nothing is saved in the forward pass.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jaxtyping import Float, Int

from kernels.common.pallas import launch, load_columns, rows, store_columns
from kernels.project.reference import Columns, Lens, Options, columns
from kernels.project.spherical_harmonics import BAND_OF, basis_columns

BLOCK, WARPS = 128, 4  # Gaussians a program
SIZES = (3, 4, 3, 1)  # columns of means, quats, scales, opacities; then 3 K of sh
OUTPUTS = (2, 3, 1, 1, 2, 3)  # columns of `Projected`
CAMERA = 17  # world-to-camera 3 x 4, then the five numbers of K


def forward(arrays: tuple, camera: tuple, degree: Int[Array, ""], options: Options, interpret: bool) -> list[Array]:
    """Return the arrays of `Projected`.

    Args:
        arrays: means, quats, scales, opacities, sh.
        camera: camera_from_world, K.
        degree: highest band of spherical harmonics.
        options: the rest.
        interpret: run without a GPU.
    """
    N, coefficients = arrays[0].shape[0], arrays[4].shape[1]
    shapes = [(N, n) if n > 1 else (N,) for n in OUTPUTS]
    kernel = functools.partial(_forward_kernel, coefficients=coefficients, options=options)
    operands = *_flat(arrays), *_scalars(camera, degree)
    return launch(kernel, "project_forward", pl.cdiv(N, BLOCK), shapes, WARPS, interpret, *operands)


def adjoint(
    arrays: tuple, camera: tuple, degree: Int[Array, ""], v: list[Array], options: Options, interpret: bool
) -> list[Array]:
    """Return the cotangents of `arrays` and `camera` for the cotangents `v` of `Projected`; see `forward`."""
    N, coefficients = arrays[0].shape[0], arrays[4].shape[1]
    flat = _flat(arrays)
    shapes = [*(x.shape for x in flat), (pl.cdiv(N, BLOCK), CAMERA)]
    kernel = functools.partial(_adjoint_kernel, coefficients=coefficients, options=options)
    operands = *flat, *_scalars(camera, degree), *v
    *parts, lens = launch(kernel, "project_adjoint", pl.cdiv(N, BLOCK), shapes, WARPS, interpret, *operands)
    parts[4] = parts[4].reshape(arrays[4].shape)
    numbers = jnp.sum(lens, 0)
    pose = jnp.zeros((4, 4)).at[:3].set(numbers[:12].reshape(3, 4))
    fx, fy, skew, cx, cy = numbers[12:]
    K = jnp.zeros((3, 3)).at[(0, 1, 0, 0, 1), (0, 1, 1, 2, 2)].set(jnp.stack([fx, fy, skew, cx, cy]))
    return [*parts, pose, K]


def _flat(arrays: tuple) -> list[Array]:
    """Return the arrays with spherical harmonics as (N, 3 K)."""
    return [*arrays[:4], arrays[4].reshape(arrays[4].shape[0], -1)]


def _scalars(camera: tuple, degree: Int[Array, ""]) -> tuple[Float[Array, "17"], Float[Array, "16"]]:
    """Return the numbers of the camera in one row, and 1 for the bands that count."""
    return camera_numbers(*camera), (jnp.array(BAND_OF) <= degree).astype(jnp.float32)


def camera_numbers(pose: Float[Array, "4 4"], K: Float[Array, "3 3"]) -> Float[Array, "17"]:
    """Return the world-to-camera matrix without its last row, then fx, fy, skew, cx, cy."""
    return jnp.concatenate([pose[:3].ravel(), jnp.stack([K[0, 0], K[1, 1], K[0, 1], K[0, 2], K[1, 2]])])


# ---- kernel bodies: every reference is the whole array


def _project(
    means: list, quats: list, scales: list, opacity: list, sh: list, numbers: list, bands: list, options: Options
) -> list[list[Array]]:
    """Return the columns of `Projected`; see `reference.project`."""
    every = [*means, *quats, *scales, *opacity, *sh]
    w, x, y, z = quats
    usable = (jnp.abs(sum(every[1:], every[0])) < jnp.inf) & (w * w + x * x + y * y + z * z > 1e-24)
    means, sh, opacity = ([jnp.where(usable, v, 0.0) for v in group] for group in (means, sh, opacity))
    quats = [jnp.where(usable, v, 1.0) for v in quats]
    camera = [numbers[4 * i : 4 * i + 4] for i in range(3)]
    inside = [row[0] * means[0] + row[1] * means[1] + row[2] * means[2] + row[3] for row in camera]
    out: Columns = columns(usable, inside, quats, scales, opacity[0], Lens(camera, *numbers[12:]), options)
    color = _color(means, camera, sh, bands)
    return [list(out.mean2d), list(out.conic), [out.opacity], [out.depth], list(out.extent), color]


def _color(means: list, camera: list, sh: list, bands: list) -> list[Array]:
    """Return the colour seen from the camera, whose position does not count when differentiating."""
    offset = [lax.stop_gradient(means[j] + sum(row[j] * row[3] for row in camera)) for j in range(3)]
    per_length = lax.rsqrt(jnp.maximum(offset[0] ** 2 + offset[1] ** 2 + offset[2] ** 2, 1e-24))
    basis = basis_columns(*[x * per_length for x in offset], len(sh) // 3)
    weights = [b * band for b, band in zip(basis, bands, strict=False)]
    return [jnp.maximum(sum(w * sh[3 * k + c] for k, w in enumerate(weights)) + 0.5, 0.0) for c in range(3)]


def _inputs(refs: tuple, row: Array, coefficients: int) -> tuple[list[list[Array]], list[Array], list[Array]]:
    """Load the parameters of some Gaussians, the camera, and which bands count."""
    numbers = [refs[5][k] for k in range(CAMERA)]
    return [load_columns(ref, row) for ref in refs[:5]], numbers, [refs[6][k] for k in range(coefficients)]


def _forward_kernel(*refs: Any, coefficients: int, options: Options) -> None:
    row = rows(BLOCK)
    parameters, numbers, bands = _inputs(refs, row, coefficients)
    results = _project(*parameters, numbers, bands, options)
    for ref, values in zip(refs[7:], results, strict=True):
        store_columns(ref, row, values)


def _adjoint_kernel(*refs: Any, coefficients: int, options: Options) -> None:
    row = rows(BLOCK)
    parameters, numbers, bands = _inputs(refs, row, coefficients)
    exists = row < refs[0].shape[0]
    v = [[jnp.where(exists, x, 0.0) for x in load_columns(ref, row)] for ref in refs[7:13]]
    _, pull = jax.vjp(lambda p, n: _project(*p, n, bands, options), parameters, numbers)
    pulled, camera = pull(v)
    for ref, values in zip(refs[13:18], pulled, strict=True):
        store_columns(ref, row, values)
    for k, value in enumerate(camera):
        refs[18][pl.program_id(0), k] = value
