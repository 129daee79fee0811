"""Write and read Gaussians as PLY files in the layout of 3D Gaussian splatting viewers.

One vertex per Gaussian, all float32: x y z, nx ny nz (zero), f_dc_0..2, f_rest_* (coefficients 1.. of red,
then of green, then of blue), opacity (logit), scale_0..2 (log meters), rot_0..3 (wxyz). Source: the
released program of Kerbl et al. 2023, arXiv 2308.04079.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Bool, Float
from plyfile import PlyData, PlyElement, PlyParseError

from ff_jax.render.gaussians import Gaussians
from ff_jax.runtime.atomic_files import atomic_write


def write_ply(path: str | Path, gaussians: Gaussians, alive: Bool[ArrayLike, "N"]) -> None:
    """Write the Gaussians whose `alive` is true, atomically.

    Raises:
        ValueError: the number of coefficients fits no degree from 0 to 3.
        DiskFullError: the disk is full.
    """
    _check_degree(gaussians.sh.shape[1], f"sh of shape {gaussians.sh.shape}")
    keep = np.asarray(alive)
    sh = np.asarray(gaussians.sh, np.float32)[keep]
    means = np.asarray(gaussians.means, np.float32)[keep]
    columns = [
        means,
        np.zeros_like(means),
        sh[:, 0],
        sh[:, 1:].swapaxes(1, 2).reshape(len(sh), 3 * (sh.shape[1] - 1)),
        np.asarray(gaussians.logit_opacities, np.float32)[keep, None],
        np.asarray(gaussians.log_scales, np.float32)[keep],
        np.asarray(gaussians.quats, np.float32)[keep],
    ]
    names = _properties(gaussians.sh.shape[1])
    rows = np.concatenate(columns, 1).astype("<f4")
    table = rows.view([(name, "<f4") for name in names])[:, 0]
    with atomic_write(path) as temporary:
        PlyData([PlyElement.describe(table, "vertex")], byte_order="<").write(str(temporary))


def read_ply(path: str | Path, capacity: int | None = None) -> tuple[Gaussians, Bool[Array, "N"]]:
    """Read a 3D Gaussian splatting PLY of degree 0 to 3; return Gaussians and the mask of alive slots.

    Args:
        path: file with the properties of `write_ply`, in any order; further ones are ignored.
        capacity: number of slots; the number of Gaussians by default.

    Raises:
        ValueError: it is not such a file, or holds more Gaussians than `capacity`.
    """
    try:
        vertex = PlyData.read(str(path))["vertex"]
    except (PlyParseError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a PLY file with vertices: {error}") from error
    present = {prop.name for prop in vertex.properties}
    coefficients = 1 + sum(name.startswith("f_rest_") for name in present) / 3
    _check_degree(coefficients, f"{path} with {round(3 * coefficients - 3)} f_rest properties")
    names = [n for n in _properties(int(coefficients)) if n not in ("nx", "ny", "nz")]
    if missing := [n for n in names if n not in present]:
        raise ValueError(f"{path} has no 3D Gaussians: it lacks the properties {', '.join(missing)}")
    table = np.stack([np.asarray(vertex[name], np.float32) for name in names], 1)
    count = len(table)
    capacity = count if capacity is None else capacity
    if count > capacity:
        raise ValueError(f"{path} holds {count} Gaussians, more than {capacity=}: raise the capacity")
    return _gaussians(table, int(coefficients), capacity), jnp.arange(capacity) < count


def _gaussians(table: Float[np.ndarray, "n p"], coefficients: int, capacity: int) -> Gaussians:
    """Split the columns of `table`; empty slots are tiny and transparent."""
    count, rest = len(table), 3 * (coefficients - 1)
    filler = np.zeros((capacity - count, table.shape[1]), np.float32)
    filler[:, 6 + rest] = filler[:, 7 + rest : 10 + rest] = -10.0
    filler[:, 10 + rest] = 1.0
    means, dc, higher, logits, scales, quats = jnp.split(
        jnp.asarray(np.concatenate([table, filler])), np.cumsum([3, 3, rest, 1, 3]), axis=1
    )
    higher = higher.reshape(capacity, 3, coefficients - 1).swapaxes(1, 2)
    return Gaussians(means, quats, scales, logits[:, 0], jnp.concatenate([dc[:, None], higher], 1))


def _properties(coefficients: int) -> list[str]:
    """List the properties of a vertex in the order of the file."""
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    names += [f"f_rest_{i}" for i in range(3 * (coefficients - 1))]
    return [*names, "opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]


def _check_degree(coefficients: float | int, what: str) -> None:
    """Check that the number of coefficients per channel is that of a degree of spherical harmonics."""
    if coefficients not in (1, 4, 9, 16):
        raise ValueError(f"{what} fits no degree from 0 to 3: expected 1, 4, 9 or 16 coefficients per channel")
