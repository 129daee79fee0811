"""Write and read `.splat` files: 32 bytes a Gaussian, without a header and without view-dependent color.

Position and standard deviations are 3 x float32 each (meters), then red, green, blue and opacity as bytes, then the
quaternion (wxyz) as bytes, q x 128 + 128. Axes are those of a PLY file. Source: the viewer antimatter15/splat.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import expit

from ff_jax.export.formats.splats import (
    SplatHeader,
    StoredSplats,
    check_count,
    dc_from_rgb,
    logits,
    to_bytes,
    unit_quats,
    usable_splats,
)
from ff_jax.render.gaussians import SH_C0, GaussianArrays
from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.runtime.untrusted_files import UnreadableFileError, check_regular, read_file

ROW = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("quat", "u1", 4)])


def write(path: str | Path, gaussians: GaussianArrays, comments: Sequence[str] = ()) -> None:
    """Write Gaussians, atomically; the format has no place for comments and for coefficients above the constant.

    Raises:
        DiskFullError: the disk is full.
    """
    with atomic_write(path) as temporary:
        temporary.write_bytes(encode(gaussians))


def encode(gaussians: GaussianArrays) -> bytes:
    """Encode Gaussians as the content of a file."""
    rows = np.zeros(gaussians.count, ROW)
    rows["mean"], rows["scale"] = gaussians.means, np.exp(gaussians.log_scales)
    rows["rgba"][:, :3] = to_bytes(255 * (0.5 + SH_C0 * gaussians.sh[:, 0]))
    rows["rgba"][:, 3] = to_bytes(255 * expit(gaussians.logit_opacities))
    rows["quat"] = to_bytes(128 + 128 * unit_quats(gaussians.quats))
    return rows.tobytes()


def read_header(path: str | Path) -> SplatHeader:
    """Find the number of Gaussians from the size of a file.

    Raises:
        UnreadableFileError: the file is missing, or its size is no multiple of 32 bytes.
    """
    size = check_regular(path)
    if size % ROW.itemsize:
        raise UnreadableFileError(
            f"{path}: {size} bytes are no multiple of {ROW.itemsize}, the bytes of a Gaussian; restore the file."
        )
    check_count(path, size // ROW.itemsize, 1, size)
    return SplatHeader(size // ROW.itemsize, 0, ())


def read(path: str | Path) -> StoredSplats:
    """Read the Gaussians of a file; those with values that are not finite are dropped.

    Raises:
        UnreadableFileError: see `read_header`.
    """
    read_header(path)
    rows = np.frombuffer(read_file(path), ROW)
    color = rows["rgba"] / 255.0
    with np.errstate(divide="ignore", invalid="ignore"):
        log_scales = np.log(rows["scale"])
    return usable_splats(
        GaussianArrays(
            means=rows["mean"],
            quats=rows["quat"] / 128.0 - 1,
            log_scales=log_scales,
            logit_opacities=logits(color[:, 3]),
            sh=dc_from_rgb(color[:, :3])[:, None],
        )
    )
