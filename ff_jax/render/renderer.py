"""Render Gaussians to colour, depth and opacity: project -> bin -> rasterize -> put the background behind.

One meaning for every implementation of the kernels; differentiable in both modes with respect to the Gaussians,
the camera pose, the intrinsics and the background.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from ff_jax.render.camera import Camera
from ff_jax.render.gaussians import Gaussians, opacities
from ff_jax.render.multi_device import Shards, draw
from ff_jax.render.rolling_shutter import seen_by_line, straightened
from kernels.bin_tiles import Bins, bin_tiles
from kernels.bin_tiles.config import default_tile
from kernels.project import Projected, project
from kernels.rasterize import rasterize


@dataclasses.dataclass(frozen=True)
class RenderSettings:
    """Static choices of the renderer (hashable: pass it as a static argument).

    Attributes:
        capacity: tile intersections that fit; `RenderOut.needed` says how many there were.
        antialiased: compensate opacity for the screen-space dilation (Yu et al. 2024, arXiv 2311.16493).
        near: Gaussians with a smaller camera z are culled, metres.
        eps2d: screen-space dilation added to the 2-D covariance, px^2.
        tile: tile edge in pixels; None takes the implementation's default.
        implementation: "reference", "xla", "pallas", "mosaic"; None takes the best one for the device.
        shards: devices that share one scene; None renders where the Gaussians are. The capacity is that of each.
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


class RenderOut(NamedTuple):
    """One rendered view."""

    rgb: Float[Array, "H W 3"]  # composite including the background
    depth: Float[Array, "H W"]  # accumulated camera z (metres times weight); divide by alpha for expected depth
    alpha: Float[Array, "H W"]  # accumulated opacity
    needed: Int[Array, ""]  # tile intersections that exist; more than the capacity means some were dropped
    sent: Int[Array, ""] | int = 0  # most splats one device had for another; more than `Shards.room`: likewise


def project_gaussians(
    gaussians: Gaussians,
    alive: Bool[Array, "N"],
    camera: Camera,
    settings: RenderSettings,
    sh_degree: int | Int[Array, ""] = 3,
) -> Projected:
    """Project the alive Gaussians into `camera`; colour bands above `sh_degree` are masked.

    With a rolling shutter every Gaussian is seen from where the camera is when the line is read that it falls on.
    """
    means = gaussians.means if camera.shutter is None else seen_by_line(gaussians.means, camera)
    return project(
        means,
        gaussians.quats,
        jnp.exp(gaussians.log_scales),
        opacities(gaussians, alive),
        gaussians.sh,
        camera.camera_from_world,
        camera.K,
        width=camera.width,
        height=camera.height,
        sh_degree=sh_degree,
        antialiased=settings.antialiased,
        near=settings.near,
        eps2d=settings.eps2d,
        implementation=settings.implementation,
    )


def bin_gaussians(
    projected: Projected, camera: Camera, settings: RenderSettings, part: int | Int[Array, ""] = 0, parts: int = 1
) -> Bins:
    """List, per tile of the image, the Gaussians that touch it, front to back; `part` and `parts` as in `bin_tiles`."""
    return bin_tiles(
        projected.mean2d,
        projected.conic,
        projected.opacity,
        projected.extent,
        projected.depth,
        width=camera.width,
        height=camera.height,
        tile=settings.tile_size,
        capacity=settings.capacity,
        part=part,
        parts=parts,
        # The lists' own specification is a dense table over all tiles: of use to their tests alone.
        implementation=None if settings.implementation == "reference" else settings.implementation,
    )


def blended(projected: Projected) -> Float[Array, "N 4"]:
    """Return what is blended of every Gaussian: colour and depth (camera z, metres)."""
    return jnp.concatenate([projected.color, projected.depth[:, None]], -1)


def blend(
    projected: Projected, camera: Camera, settings: RenderSettings, part: int | Int[Array, ""] = 0, parts: int = 1
) -> tuple[Float[Array, "H W 4"], Float[Array, "H W"], Int[Array, ""]]:
    """Return colour with depth (accumulated camera z, metres), opacity, and the tile intersections that exist.

    Only the tile rows of one part are drawn, the others are 0.
    """
    bins = bin_gaussians(projected, camera, settings, part, parts)
    out, alpha = rasterize(
        projected.mean2d,
        projected.conic,
        projected.opacity,
        blended(projected),
        bins,
        width=camera.width,
        height=camera.height,
        tile=settings.tile_size,
        implementation=settings.implementation,
    )
    return out, alpha, jax.lax.stop_gradient(bins.needed)


def render(
    gaussians: Gaussians,
    alive: Bool[Array, "N"],
    camera: Camera,
    settings: RenderSettings,
    *,
    sh_degree: int | Int[Array, ""] = 3,
    background: Float[Array, "H W 3"] | None = None,
    nudge: Float[Array, "N 2"] | None = None,
) -> RenderOut:
    """Render one view.

    Args:
        gaussians: in the world.
        alive: slots in use.
        camera: of the view.
        settings: of the renderer.
        sh_degree: highest colour band shown.
        background: per pixel, shows where opacity is missing; default black.
        nudge: added to the projected centres, pixels; zeros, whose gradient says how hard the image pulls at them.
    """

    def splats(gaussians: Gaussians, alive: Array, nudge: Array | None, camera: Camera, sh_degree: Any) -> Projected:
        projected = project_gaussians(gaussians, alive, camera, settings, sh_degree)
        return projected if nudge is None else projected._replace(mean2d=projected.mean2d + nudge)

    per_gaussian, shared = (gaussians, alive, nudge), (camera, sh_degree)
    if settings.shards is None:
        out, alpha, needed = blend(splats(*per_gaussian, *shared), camera, settings)
        sent = jnp.int32(0)
    else:
        size = camera.height, settings.tile_size
        rows = functools.partial(blend, camera=camera, settings=settings)  # of the camera, the size of its image alone
        joined, needed, sent = draw(splats, rows, per_gaussian, shared, settings.shards, *size)
        out, alpha = joined[..., :-1], joined[..., -1]
    rgb, depth = out[..., :3], out[..., 3]
    if background is not None:
        rgb = rgb + (1.0 - alpha[..., None]) * background
    return RenderOut(rgb, depth, alpha, needed, sent)


def ray_directions(camera: Camera) -> Float[Array, "H W 3"]:
    """Return unit ray directions in the world frame through every pixel centre."""
    x = (jnp.arange(camera.width) + 0.5 - camera.K[0, 2]) / camera.K[0, 0]
    y = (jnp.arange(camera.height) + 0.5 - camera.K[1, 2]) / camera.K[1, 1]
    in_camera = jnp.stack([*jnp.meshgrid(x, y), jnp.ones((camera.height, camera.width))], -1)
    in_camera = in_camera / jnp.linalg.norm(in_camera, axis=-1, keepdims=True)
    if camera.shutter is not None:
        in_camera = straightened(in_camera, camera)
    # Three products that fuse with what makes them and what takes them, not a matrix product that stands alone.
    return sum(in_camera[..., k, None] * camera.camera_from_world[k, :3] for k in range(3))
