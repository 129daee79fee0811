"""Write and read Gaussians as PLY files in the layout of 3D Gaussian splatting viewers.

One vertex per Gaussian, all float32: x y z, nx ny nz (zero), f_dc_0..2, f_rest_* (coefficients 1.. of red,
then of green, then of blue), opacity (logit), scale_0..2 (log meters), rot_0..3 (wxyz). Source: the
released program of Kerbl et al. 2023, arXiv 2308.04079. `ply_layouts` describes other layouts that are read.
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Bool, Shaped
from plyfile import PlyData, PlyElement

from ff_jax.export.formats.splats import check_degree, select_alive
from ff_jax.export.ply_layouts import read_splats
from ff_jax.render.gaussians import GaussianArrays, Gaussians
from ff_jax.runtime.atomic_files import atomic_write


def write_ply(
    path: str | Path, gaussians: Gaussians | GaussianArrays, alive: Bool[ArrayLike, "N"], comments: Sequence[str] = ()
) -> None:
    """Write the Gaussians whose `alive` is true, atomically; `comments` are lines of the header.

    Raises:
        ValueError: the number of coefficients fits no degree from 0 to 3.
        DiskFullError: the disk is full.
    """
    check_degree(gaussians.sh.shape[1], f"sh of shape {gaussians.sh.shape}")
    means, quats, log_scales, logit_opacities, sh = select_alive(gaussians, alive)
    columns = [
        means,
        np.zeros_like(means),
        sh[:, 0],
        sh[:, 1:].swapaxes(1, 2).reshape(len(sh), 3 * (sh.shape[1] - 1)),
        logit_opacities[:, None],
        log_scales,
        quats,
    ]
    names = _properties(gaussians.sh.shape[1])
    rows = np.concatenate(columns, 1).astype("<f4")
    table = rows.view([(name, "<f4") for name in names])[:, 0]
    element = PlyElement.describe(table, "vertex")
    with atomic_write(path) as temporary:
        PlyData([element], byte_order="<", comments=list(comments)).write(str(temporary))


def read_ply(path: str | Path, capacity: int | None = None) -> tuple[Gaussians, Bool[Array, "N"]]:
    """Read 3D Gaussians of degree 0 to 3 from a PLY file of any common tool; return them and the mask of alive slots.

    Args:
        path: file with the properties of `write_ply`, in any order, or of another layout (`ply_layouts`).
        capacity: number of slots; the number of Gaussians by default.

    Raises:
        ValueError: it is not such a file, or holds more Gaussians than `capacity`.
    """
    stored = read_splats(path)
    count = stored.gaussians.count
    capacity = count if capacity is None else capacity
    if count > capacity:
        raise ValueError(f"{path} holds {count} Gaussians, more than {capacity=}: raise the capacity")
    return into_slots(stored.gaussians, capacity), jnp.arange(capacity) < count


def into_slots(gaussians: GaussianArrays, capacity: int, coefficients: int | None = None) -> Gaussians:
    """Put stored Gaussians into the first slots of a buffer on the device; empty slots are tiny and transparent.

    Args:
        gaussians: as they were read.
        capacity: number of slots, at least that of the Gaussians.
        coefficients: of spherical harmonics per channel, at least as many as stored; additional ones are 0.
    """
    free, missing = capacity - gaussians.count, (coefficients or 0) - gaussians.sh.shape[1]

    def fill(values: Shaped[np.ndarray, "n ..."], value: float) -> Shaped[np.ndarray, "m ..."]:
        return np.concatenate([values, np.full((free, *values.shape[1:]), value, np.float32)]).astype(np.float32)

    quats = fill(gaussians.quats, 0.0)
    quats[gaussians.count :, 0] = 1.0
    sh = np.pad(gaussians.sh, ((0, 0), (0, max(missing, 0)), (0, 0)))
    fields = GaussianArrays(
        means=fill(gaussians.means, 0.0),
        quats=quats,
        log_scales=fill(gaussians.log_scales, -10.0),
        logit_opacities=fill(gaussians.logit_opacities, -10.0),
        sh=fill(sh, 0.0),
    )
    return Gaussians(*map(jax.device_put, fields))


def _properties(coefficients: int) -> list[str]:
    """List the properties of a vertex in the order of the file."""
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    names += [f"f_rest_{i}" for i in range(3 * (coefficients - 1))]
    return [*names, "opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
