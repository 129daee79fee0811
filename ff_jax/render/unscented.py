"""Project Gaussians through a lens by the unscented transform (Wu et al., 3DGUT, CVPR 2025, arXiv 2412.12507).

Seven sigma points carry a Gaussian: its mean, and both points at sqrt(3) standard deviations on each of its axes. Each
goes through the lens, and with a rolling shutter at the pose of its own image line. With alpha 1, beta 2 and kappa 0
(Julier and Uhlmann), the center of the footprint is the average of the six outer points, and its covariance weights
them by 1/6 and the mean by 2. So a lens needs no derivative of its own, and a wide Gaussian is bent as its points are.

The footprint is an ellipse in the image, as for a pinhole: tile lists, blending, and their kernels do not change. Depth
is the camera z for lenses that map tangents, and the distance from the camera for lenses that map angles, where z does
not order what is behind the image plane. A Gaussian is culled if this depth is not beyond the near plane, or if no
sigma point is in the domain of the lens.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from ff_jax.render.camera import Camera, project_points
from ff_jax.render.rigid import quats_to_matrices
from ff_jax.render.rolling_shutter import means_at_readout
from kernels import (
    ALPHA_MIN,
    Gaussians3D,
    Projected,
    ProjectionOptions,
    keep_finite,
    sh_color,
    splat_columns,
    view_directions,
)

SPREAD = 3**0.5  # standard deviations between the mean and an outer sigma point
CENTER_WEIGHT = 2.0  # of the mean in the covariance; the outer points have 1/6
LARGEST = 1e12  # meters: sigma points beyond overflow float32 when they are squared


def project_unscented(
    gaussians: Gaussians3D, camera: Camera, options: ProjectionOptions, sh_degree: int | Int[Array, ""] = 3
) -> Projected:
    """Project Gaussians through the lens of a camera; results and culling are those of `kernels.project`.

    Differentiable, in both modes, in the Gaussians, the pose, K, and the numbers of the lens and the shutter. As in
    `kernels.project`, the directions of the colors are constant.
    """
    usable, gaussians = keep_finite(gaussians)
    gaussians = gaussians._replace(scales=jnp.where(usable[:, None], gaussians.scales, 1.0))
    points = sigma_points(gaussians)
    usable &= jnp.all(jnp.abs(points) < LARGEST, (0, 2)) & (gaussians.opacities > ALPHA_MIN)
    points = jnp.where(usable[:, None], points, 0.0)
    if camera.shutter is not None:
        points = means_at_readout(points.reshape(-1, 3), camera).reshape(points.shape)
    rotation, translation = camera.camera_from_world[:3, :3], camera.camera_from_world[:3, 3]
    in_camera = jnp.einsum("ij,pnj->pni", rotation, points, precision="highest") + translation
    depth = depth_of(in_camera[0], camera)
    usable &= depth > options.near
    in_camera = jnp.where(usable[:, None], in_camera, jnp.array([0.0, 0.0, 1.0]))
    pixels, is_inside = project_points(camera, in_camera)
    center, rows = _footprint(pixels)
    out = splat_columns(usable & jnp.any(is_inside, 0), center, rows, gaussians.opacities, depth, options)
    color = sh_color(gaussians.sh, view_directions(points[0], camera.camera_from_world), sh_degree)
    mean2d, conic, extent = (jnp.stack(columns, -1) for columns in (out.mean2d, out.conic, out.extent))
    return Projected(mean2d, conic, out.opacity, out.depth, extent, color)


def sigma_points(gaussians: Gaussians3D) -> Float[Array, "7 N 3"]:
    """Compute the sigma points, meters: the mean, three points on the axes, and their opposites."""
    axes = SPREAD * quats_to_matrices(gaussians.quats) * gaussians.scales[:, None, :]
    offsets = jnp.moveaxis(axes, -1, 0)
    return gaussians.means + jnp.concatenate([jnp.zeros_like(offsets[:1]), offsets, -offsets])


def depth_of(points: Float[Array, "*n 3"], camera: Camera) -> Float[Array, "*n"]:
    """Compute the depth, meters, that a camera stores for points in its frame: camera z, or distance along the ray."""
    if camera.lens is None or not camera.lens.has_angular_depth:
        return points[..., 2]
    return jnp.sqrt(jnp.maximum(jnp.sum(points * points, -1), 1e-12))


def _footprint(pixels: Float[Array, "7 N 2"]) -> tuple[tuple[Array, Array], tuple[list[Array], list[Array]]]:
    """Compute the centers of footprints, and x and y of seven vectors that span their covariances, px."""
    middle, plus, minus = pixels[0], pixels[1:4], pixels[4:]
    center = jnp.mean(pixels[1:], 0)
    # The two points of a pair as half their difference, and their average: the latter is small, and 0 where the lens is
    # straight.
    half, bend = 0.5 * (plus - minus), 0.5 * (plus + minus) - center
    vectors = jnp.concatenate([half / SPREAD, bend / SPREAD, CENTER_WEIGHT**0.5 * (middle - center)[None]])
    return (center[:, 0], center[:, 1]), (list(vectors[..., 0]), list(vectors[..., 1]))
