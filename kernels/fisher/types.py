"""Records that the Fisher ops take."""

from typing import NamedTuple

from jax import Array
from jaxtyping import ArrayLike, Float

from kernels.project.types import CameraMatrices, Gaussians3D, ProjectionOptions


class ViewGeometry(NamedTuple):
    """Gaussians in one view: the inputs of `kernels.project`, from which the footprint's Jacobian follows."""

    gaussians: Gaussians3D  # the spherical harmonics are not read
    camera: CameraMatrices
    options: ProjectionOptions


class Uncertainty(NamedTuple):
    """Posterior of every Gaussian, and variances of a pixel.

    `footprint` is any F_i with F_i F_i^T = posterior covariance of (mean2d, conic, log opacity); or the `ViewGeometry`
    of the same Gaussians with upper triangular factors of the posterior covariance of their geometry.
    """

    footprint: Float[Array, "N 6 r"] | tuple[ViewGeometry, Float[Array, "N 10 10"]]
    color_var: Float[Array, "N"]  # posterior variance of one color channel
    noise_var: Float[ArrayLike, "*map"]  # of one observed color channel; one number, or one per pixel
    background_var: Float[ArrayLike, "*map"]  # of one channel of the background; one number, or one per pixel
