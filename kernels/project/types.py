"""Records that `project` takes and returns."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
from jax import Array
from jaxtyping import Float

Values = Float[Array, "..."]


class Gaussians3D(NamedTuple):
    """Gaussians in the world, with activated parameters."""

    means: Float[Array, "N 3"]  # meters
    quats: Float[Array, "N 4"]  # wxyz, any positive length
    scales: Float[Array, "N 3"]  # standard deviations along the three axes, meters
    opacities: Float[Array, "N"]  # [0, 1)
    sh: Float[Array, "N K 3"]  # 1, 4, 9 or 16 coefficients per color channel


class CameraMatrices(NamedTuple):
    """Pose and intrinsics of a pinhole camera."""

    camera_from_world: Float[Array, "4 4"]  # rigid transform into OpenCV axes, meters
    K: Float[Array, "3 3"]  # pixels (skew allowed)


@jax.tree_util.register_static
@dataclass(frozen=True)
class ProjectionOptions:
    """Static options of the projection (hashable; never traced).

    Attributes:
        width: image width, pixels.
        height: image height, pixels.
        antialiased: multiply the opacity by sqrt(area before / area after the dilation) (Mip-Splatting).
        near: distance of the near plane, meters.
        eps2d: dilation added to the covariance, px^2.
    """

    width: int
    height: int
    antialiased: bool = False
    near: float = 0.2
    eps2d: float = 0.3


class Projected(NamedTuple):
    """Gaussians on the image plane of one camera; a culled one has opacity 0 and extent 0."""

    mean2d: Float[Array, "N 2"]  # px
    conic: Float[Array, "N 3"]  # inverse 2-D covariance (a, b, c), 1/px^2
    opacity: Float[Array, "N"]  # [0, 1), antialias compensation applied
    depth: Float[Array, "N"]  # camera z, meters
    extent: Float[Array, "N 2"]  # px, half-size of the box outside which alpha < 1/255
    color: Float[Array, "N 3"]  # >= 0


class Lens(NamedTuple):
    """A pinhole camera as scalars, or as columns of them."""

    rotation: Any  # rotation[i][j]: world to camera
    fx: Any  # px
    fy: Any
    skew: Any
    cx: Any
    cy: Any


def lens_of(rotation: Array, K: Array) -> Lens:
    """Split a rotation (or pose) and an intrinsic matrix into scalars."""
    rows = [[rotation[i, j] for j in range(3)] for i in range(3)]
    return Lens(rows, K[0, 0], K[1, 1], K[0, 1], K[0, 2], K[1, 2])


class ProjectedColumns(NamedTuple):
    """The columns of `Projected` without the color."""

    mean2d: tuple[Values, Values]
    conic: tuple[Values, Values, Values]
    opacity: Values
    depth: Values
    extent: tuple[Values, Values]
