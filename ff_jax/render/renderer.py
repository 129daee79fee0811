"""Render Gaussians to color, depth and opacity: project -> bin -> rasterize -> composite over the background.

One meaning for every implementation of the kernels; differentiable in both modes with respect to the Gaussians,
the camera pose, the intrinsics and the background.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from jaxtyping import Bool, Float, Int

from ff_jax.render.camera import Camera, pixel_rays
from ff_jax.render.gaussians import Gaussians, WorldGaussians, opacities
from ff_jax.render.multi_device import Shards, render_sharded
from ff_jax.render.rolling_shutter import means_at_readout, rays_at_readout
from ff_jax.render.unscented import project_unscented
from kernels import (
    Bins,
    CameraMatrices,
    Gaussians3D,
    Projected,
    ProjectionOptions,
    TileGrid,
    bin_tiles,
    default_tile,
    project,
    rasterize,
)

SKY_DEPTH = 1e4  # meters: far enough that a lateral shift causes no parallax


@dataclasses.dataclass(frozen=True)
class RenderSettings:
    """Static choices of the renderer (hashable: pass it as a static argument).

    Attributes:
        capacity: tile intersections that fit; `RenderOutput.num_intersections` is the number of them.
        antialiased: compensate opacity for the screen-space dilation (Yu et al. 2024, arXiv 2311.16493).
        near: Gaussians with a smaller depth are culled, meters.
        eps2d: screen-space dilation added to the 2-D covariance, px^2.
        tile: tile edge in pixels; None takes the implementation's default.
        implementation: "reference", "xla", "pallas", "mosaic"; None takes the best one for the device.
        shards: devices that share one scene, each with this capacity; None renders on the device of the Gaussians.
    """

    capacity: int
    antialiased: bool = False
    near: float = 0.2
    eps2d: float = 0.3
    tile: int | None = None
    implementation: str | None = None
    shards: Shards | None = None

    @property
    def tile_size(self) -> int:
        """Return the tile edge in pixels."""
        return self.tile or default_tile(self.implementation)

    def projection(self, camera: Camera) -> ProjectionOptions:
        """Return the static options of the projection into a camera."""
        return ProjectionOptions(camera.width, camera.height, self.antialiased, self.near, self.eps2d)


class RenderInput(struct.PyTreeNode):
    """Everything that one render depends on; the input of every pass over a view (render, Fisher information, EIG)."""

    world: WorldGaussians
    camera: Camera
    settings: RenderSettings = struct.field(pytree_node=False)
    sh_degree: int | Int[Array, ""] = 3  # highest color band that is active


class RenderOutput(NamedTuple):
    """One rendered view; depth is the camera z, or the distance for lenses that map angles (`unscented`)."""

    rgb: Float[Array, "H W 3"]  # composite including the background
    depth: Float[Array, "H W"]  # accumulated depth (meters times weight); divide by alpha for expected depth
    alpha: Float[Array, "H W"]  # accumulated opacity
    num_intersections: Int[Array, ""]  # tile intersections; those beyond the capacity are dropped, farthest first
    num_sent: Int[Array, ""]  # largest number of splats from one device to another (`Shards.send_capacity`)


def expected_depth(depth: Float[Array, "*n"], alpha: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Compute the expected camera z (meters) from accumulated depth; `SKY_DEPTH` where opacity is at most 1/2."""
    return jnp.where(alpha > 0.5, depth / jnp.maximum(alpha, 0.5), SKY_DEPTH)


def project_gaussians(inputs: RenderInput) -> Projected:
    """Project the alive Gaussians into the camera; color bands above `sh_degree` are masked.

    With a rolling shutter, each Gaussian is projected with the camera pose at the readout of its image line. Pinhole
    cameras take the kernel `project`, lenses the unscented transform, in jnp for every implementation (`unscented`).
    """
    (gaussians, alive, _), camera, settings = inputs.world, inputs.camera, inputs.settings
    world = Gaussians3D(
        gaussians.means, gaussians.quats, jnp.exp(gaussians.log_scales), opacities(gaussians, alive), gaussians.sh
    )
    if camera.lens is not None:
        return project_unscented(world, camera, settings.projection(camera), inputs.sh_degree)
    if camera.shutter is not None:
        world = world._replace(means=means_at_readout(world.means, camera))
    return project(
        world,
        CameraMatrices(camera.camera_from_world, camera.K),
        settings.projection(camera),
        sh_degree=inputs.sh_degree,
        implementation=settings.implementation,
    )


def bin_gaussians(
    projected: Projected, camera: Camera, settings: RenderSettings, part: int | Int[Array, ""] = 0, num_parts: int = 1
) -> Bins:
    """List the Gaussians that touch each tile, front to back; `part` and `num_parts` as in `bin_tiles`."""
    return bin_tiles(
        projected,
        TileGrid(camera.width, camera.height, settings.tile_size),
        capacity=settings.capacity,
        part=part,
        num_parts=num_parts,
        # The reference implementation is a dense table over all tiles: for the tests of `bin_tiles` only.
        implementation=None if settings.implementation == "reference" else settings.implementation,
    )


def blended(projected: Projected) -> Float[Array, "N 4"]:
    """Stack the features that are blended: color and depth (camera z, meters)."""
    return jnp.concatenate([projected.color, projected.depth[:, None]], -1)


def blend(
    projected: Projected, camera: Camera, settings: RenderSettings, part: int | Int[Array, ""] = 0, num_parts: int = 1
) -> tuple[Float[Array, "H W 4"], Float[Array, "H W"], Int[Array, ""]]:
    """Blend color and depth (accumulated camera z, meters) and opacity, and count the tile intersections.

    Only the tile rows of one part are rendered; the others are 0.
    """
    bins = bin_gaussians(projected, camera, settings, part, num_parts)
    out, alpha = rasterize(projected, blended(projected), bins, implementation=settings.implementation)
    return out, alpha, jax.lax.stop_gradient(bins.num_intersections)


def render(
    inputs: RenderInput,
    *,
    background: Float[Array, "H W 3"] | None = None,
    mean2d_offset: Float[Array, "N 2"] | None = None,
) -> RenderOutput:
    """Render one view.

    Args:
        inputs: Gaussians, camera and settings.
        background: per pixel, visible where opacity is missing; default black.
        mean2d_offset: added to the projected centers, pixels. Pass zeros: their gradient drives densification.
    """
    (gaussians, alive, _), camera, settings = inputs.world, inputs.camera, inputs.settings

    def project_part(
        gaussians: Gaussians, alive: Array, offset: Array | None, camera: Camera, sh_degree: Any
    ) -> Projected:
        part = RenderInput(WorldGaussians(gaussians, alive), camera, settings, sh_degree)
        projected = project_gaussians(part)
        return projected if offset is None else projected._replace(mean2d=projected.mean2d + offset)

    per_gaussian, shared = (gaussians, alive, mean2d_offset), (camera, inputs.sh_degree)
    if settings.shards is None:
        out, alpha, num_intersections = blend(project_part(*per_gaussian, *shared), camera, settings)
        num_sent = jnp.int32(0)
    else:
        size = camera.height, settings.tile_size
        rows = functools.partial(blend, camera=camera, settings=settings)  # uses only the image size of the camera
        joined, num_intersections, num_sent = render_sharded(
            project_part, rows, per_gaussian, shared, settings.shards, *size
        )
        out, alpha = joined[..., :-1], joined[..., -1]
    rgb, depth = out[..., :3], out[..., 3]
    if background is not None:
        rgb = rgb + (1.0 - alpha[..., None]) * background
    return RenderOutput(rgb, depth, alpha, num_intersections, num_sent)


def ray_directions(camera: Camera) -> Float[Array, "H W 3"]:
    """Compute unit ray directions in the world frame through all pixel centers."""
    in_camera = _pinhole_rays(camera) if camera.lens is None else pixel_rays(camera, pixel_centers(camera))[0]
    if camera.shutter is not None:
        in_camera = rays_at_readout(in_camera, camera)
    # Elementwise, so that XLA fuses it; a matrix product would be a kernel of its own.
    return jnp.asarray(sum(in_camera[..., k, None] * camera.camera_from_world[k, :3] for k in range(3)))


def pixel_centers(camera: Camera) -> Float[Array, "H W 2"]:
    """Compute the image points (x, y) of all pixel centers."""
    x, y = jnp.meshgrid(jnp.arange(camera.width) + 0.5, jnp.arange(camera.height) + 0.5)
    return jnp.stack([x, y], -1)


def lens_mask(camera: Camera) -> Bool[Array, "H W"]:
    """Find the pixels whose rays are in the domain of the lens: what a real image of it shows."""
    return pixel_rays(camera, pixel_centers(camera))[1]


def _pinhole_rays(camera: Camera) -> Float[Array, "H W 3"]:
    """Compute unit ray directions in the frame of a pinhole camera."""
    (fx, skew, cx), (_, fy, cy) = camera.K[0], camera.K[1]
    y = (jnp.arange(camera.height) + 0.5 - cy) / fy
    x = (jnp.arange(camera.width) + 0.5 - cx - skew * y[:, None]) / fx
    ones = jnp.ones((camera.height, camera.width))
    in_camera = jnp.stack([x, y[:, None] * ones, ones], -1)
    return in_camera / jnp.linalg.norm(in_camera, axis=-1, keepdims=True)
