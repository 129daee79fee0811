"""Project 3D Gaussians to the image plane."""

from jax import Array
from jaxtyping import Float, Int

from kernels.common.implementation import choose
from kernels.project import reference, xla
from kernels.project.primitives import project_primitive
from kernels.project.reference import Options, Projected


def project(
    means: Float[Array, "N 3"],
    quats: Float[Array, "N 4"],
    scales: Float[Array, "N 3"],
    opacities: Float[Array, "N"],
    sh: Float[Array, "N K 3"],
    camera_from_world: Float[Array, "4 4"],
    K: Float[Array, "3 3"],
    *,
    width: int,
    height: int,
    sh_degree: int | Int[Array, ""] = 3,
    antialiased: bool = False,
    near: float = 0.2,
    eps2d: float = 0.3,
    implementation: str | None = None,
) -> Projected:
    """Project Gaussians with the EWA approximation (Zwicker et al. 2001; Kerbl et al. 2023).

    Differentiable in every array, the pose and the intrinsics included, in both modes and to any order. The
    direction in which the spherical harmonics are seen is held constant (no gradient to means and pose through
    colour). "reference" and "xla" (in blocks of Gaussians) are one jnp function with plain autodiff; "pallas" runs the
    same arithmetic, and its adjoint, as one kernel each, which reads and writes every number once.

    Culled (opacity 0, extent 0, all gradients 0): at or before the near plane, alpha below 1/255 on the whole
    image, any non-finite parameter, a zero quaternion.

    Args:
        means: world frame, metres.
        quats: wxyz, any positive length.
        scales: standard deviations along the three axes, metres.
        opacities: [0, 1).
        sh: 1, 4, 9 or 16 coefficients per colour channel.
        camera_from_world: rigid transform into OpenCV axes, metres.
        K: intrinsics, pixels (skew allowed).
        width: image width, pixels.
        height: image height, pixels.
        sh_degree: highest band used; may be traced.
        antialiased: multiply the opacity by sqrt(area before / area after the dilation) (Mip-Splatting).
        near: distance of the near plane, metres.
        eps2d: dilation added to the covariance, px^2.
        implementation: None, "reference", "xla" or "pallas".

    Raises:
        ValueError: if the implementation is unknown, the image is empty or `sh` has an impossible size.
    """
    if width < 1 or height < 1:
        raise ValueError(f"{width=} and {height=} must be at least 1 pixel")
    arrays = (means, quats, scales, opacities, sh, camera_from_world, K)
    options = Options(width, height, antialiased, near, eps2d)
    name = choose(implementation) if means.shape[0] else "reference"
    if name == "pallas":
        return Projected(*project_primitive(*arrays, sh_degree, options))
    return (xla if name == "xla" else reference).project(*arrays, sh_degree, options)
