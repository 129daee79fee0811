"""Project 3-D Gaussians to the image plane."""

from jax import Array
from jaxtyping import Int

from kernels.common.implementation import choose_implementation
from kernels.project import reference, xla
from kernels.project.primitives import project_primitive
from kernels.project.types import CameraMatrices, Gaussians3D, Projected, ProjectionOptions


def project(
    gaussians: Gaussians3D,
    camera: CameraMatrices,
    options: ProjectionOptions,
    *,
    sh_degree: int | Int[Array, ""] = 3,
    implementation: str | None = None,
) -> Projected:
    """Project Gaussians with the EWA approximation (Zwicker et al. 2001; Kerbl et al. 2023).

    Differentiable in every array, the pose and the intrinsics included, in both modes and to any order. The
    directions in which the spherical harmonics are evaluated are held constant (no gradient to means and pose through
    color). "reference" and "xla" (in blocks of Gaussians) are one jnp function with plain autodiff; "pallas" runs the
    same arithmetic, and its adjoint, as one kernel each, which reads and writes every number once.

    Culled (opacity 0, extent 0, all gradients 0): at or before the near plane, alpha below 1/255 on the whole
    image, any non-finite parameter, a zero quaternion.

    Args:
        gaussians: N Gaussians.
        camera: pose and intrinsics.
        options: image size, near plane, dilation.
        sh_degree: highest band used; may be traced.
        implementation: None, "reference", "xla" or "pallas".

    Raises:
        ValueError: if the implementation is unknown, the image is empty or `sh` has an impossible size.
    """
    if min(options.width, options.height) < 1:
        raise ValueError(f"invalid width={options.width}, height={options.height}: expected at least 1 pixel each")
    name = choose_implementation(implementation) if gaussians.means.shape[0] else "reference"
    if name == "pallas":
        return project_primitive(gaussians, camera, sh_degree, options)
    return (xla if name == "xla" else reference).project(gaussians, camera, sh_degree, options)
