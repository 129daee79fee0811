"""What the readers of all formats give: the header and the Gaussians of a file, and the bound on their number."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Bool, Float, Shaped

from ff_jax.render.gaussians import SH_C0, GaussianArrays, Gaussians
from ff_jax.runtime.untrusted_files import check_decoded_size

FLAT = -20.0  # log of the standard deviation of Gaussians that are exactly flat
OPAQUE = 20.0  # logit of an opacity of exactly 1

Array = np.ndarray


class MissingPackageError(ImportError, ValueError):
    """A format needs an optional package; the message says how to install it."""


class StoredSplats(NamedTuple):
    """The Gaussians of a file."""

    gaussians: GaussianArrays  # in double precision where the file is
    dropped: int  # number of Gaussians with values that are not finite


class SplatHeader(NamedTuple):
    """What the header of a file of Gaussians says."""

    count: int
    sh_degree: int
    comments: tuple[str, ...]

    @property
    def antialiased(self) -> bool:
        """Return whether opacity was compensated for the dilation on the screen; the last comment on it decides."""
        result = False
        for comment in (" ".join(comment.lower().split()) for comment in self.comments):
            if comment.startswith("splatrendermode:"):
                result = comment.endswith(" mip")
            elif comment in ("antialiased 0", "antialiased 1"):
                result = comment.endswith("1")
        return result


def render_mode(antialiased: bool) -> str:
    """Make the comment that says whether opacity was compensated for the dilation on the screen."""
    return f"SplatRenderMode: {'mip' if antialiased else 'default'}"


def usable_splats(gaussians: GaussianArrays) -> StoredSplats:
    """Drop Gaussians with values that are not finite in single precision; flat and opaque ones are kept."""
    logits = gaussians.logit_opacities
    gaussians = gaussians._replace(
        log_scales=np.where(gaussians.log_scales == -np.inf, FLAT, gaussians.log_scales),
        logit_opacities=np.where(np.isinf(logits), np.sign(logits) * OPAQUE, logits),
    )
    keep = _is_usable(gaussians)
    kept = GaussianArrays(*(values[keep] for values in gaussians))
    return StoredSplats(kept, int((~keep).sum()))


def select_alive(gaussians: Gaussians | GaussianArrays, alive: Bool[ArrayLike, "N"]) -> GaussianArrays:
    """Copy the Gaussians whose `alive` is true to the host, in single precision."""
    keep = np.asarray(alive)
    return GaussianArrays(*(np.asarray(getattr(gaussians, f), np.float32)[keep] for f in GaussianArrays._fields))


def check_degree(coefficients: float | int, what: str) -> None:
    """Check that the number of coefficients per channel is that of a degree of spherical harmonics.

    Raises:
        ValueError: it is not.
    """
    if coefficients not in (1, 4, 9, 16):
        raise ValueError(f"{what} fits no degree from 0 to 3: expected 1, 4, 9 or 16 coefficients per channel")


def check_count(path: str | Path, count: int, coefficients: int, size: int) -> None:
    """Check the number of Gaussians that a file of `size` bytes claims, before memory is allocated for them.

    Raises:
        UnreadableFileError: it is too large for the file.
    """
    check_decoded_size(path, 4 * count * (11 + 3 * coefficients), size)


def dc_from_rgb(rgb: Float[Array, "N 3"]) -> Float[Array, "N 3"]:
    """Convert colors in [0, 1] to constant coefficients."""
    return (rgb - 0.5) / SH_C0


def logits(opacities: Float[Array, "N"]) -> Float[Array, "N"]:
    """Convert opacities in [0, 1] to logits; those of 0 and 1 are infinite."""
    with np.errstate(divide="ignore"):
        return -np.log(1 / opacities - 1)


def unit_quats(quats: Float[Array, "N 4"]) -> Float[Array, "N 4"]:
    """Normalize quaternions, in double precision."""
    quats = np.asarray(quats, np.float64)
    return quats / np.maximum(np.linalg.norm(quats, axis=1, keepdims=True), 1e-30)


def to_bytes(values: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """Round to the nearest byte; values beyond the range become 0 or 255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _is_usable(gaussians: GaussianArrays) -> Shaped[Array, "N"]:
    """Test which Gaussians have finite values in single precision, and an orientation."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = [np.isfinite(v.astype(np.float32)).all(tuple(range(1, v.ndim))) for v in gaussians]
        sizes = np.isfinite(np.exp(gaussians.log_scales.astype(np.float32))).all(1)
        lengths = np.linalg.norm(gaussians.quats.astype(np.float32), axis=1)
    return np.logical_and.reduce([*values, sizes, lengths > 0, np.isfinite(lengths)])
