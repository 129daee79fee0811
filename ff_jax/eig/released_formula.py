"""The EIG map of FaithFusion's released code, for comparison only; the program uses `eig.eig_map`.

What the released code computes differs from the paper's formula (CVPR 2026, arXiv 2511.21113):

    train view   w_p = 1[sky < 0.9] / n_p,   novel view   w_p = 1,   s_p = w_p * (sum of the channels of pixel p)
    h_i  = sum over pixels and over all entries of (d s_p / d entry)^2, one number per Gaussian
    g_i  = h_i(novel) / (h_i(train views) + 1e-6)
    G_p  = sum_i T_i alpha_i g_i, 0 where the expected depth is at most 0.1,   then G_p / n_p / 1000
    E_p  = log(1 + G_p) + 1e-9,   100 where the accumulated opacity is below 0.1

Entries are the world mean (with what moving it does to the direction of view), the scale, the unit quaternion, the
opacity, and four spherical harmonics per channel; meters, quaternions and colors are added without scaling. n_p is
the place in the tile list, from 1, of the last Gaussian that pixel p blends.

Tiles have 16 pixels and the background is black, as in the released code; binning, the cap of alpha at 0.999 and
the dilation are those of this program.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ff_jax.render.camera import Camera, require_pinhole
from ff_jax.render.gaussians import Gaussians, opacities
from ff_jax.render.renderer import RenderInput, bin_gaussians, project_gaussians
from kernels import (
    T_STOP,
    Bins,
    CameraMatrices,
    Gaussians3D,
    Projected,
    alpha_gradient,
    alpha_of,
    alpha_slope,
    falloff,
    from_tiles,
    one_by_one,
    project,
    rasterize,
    sh_basis,
    to_tiles,
    walk_tiles,
)

SH_DEGREE = 1  # of the released rasterizer, whatever the degree of the training
TILE = 16  # pixels
SKY = 0.9  # a training pixel counts where its sky mask is below
REGULARIZER = 1e-6  # added to the sum over the training views
DEPTH_MIN = 0.1  # meters: G_p is 0 where the expected depth is at most this
ALPHA_MIN = 0.1  # accumulated opacity below which a pixel gets the sentinel
SENTINEL = 100.0
DIVISOR = 1000.0  # of the map, besides n_p
_ENTRIES = 11  # mean 3, scale 3, quaternion 4, opacity 1


class _ProjectedView(NamedTuple):
    """One view, projected and binned."""

    inputs: RenderInput
    splats: Projected
    bins: Bins


def train_information(inputs: RenderInput, sky: Float[Array, "H W"]) -> Float[Array, "N"]:
    """Compute h_i of one training view; sum it over the views.

    Args:
        inputs: Gaussians at the time of the view, its camera, and the settings of the render.
        sky: mask of the recorded image, 1 in the sky.
    """
    view = _project(inputs)
    cotangent = jnp.where(sky < SKY, 1 / jnp.maximum(last_places(view), 1.0), 0.0)
    return squared_gradients(view, cotangent)


def released_map(information: Float[Array, "N"], inputs: RenderInput) -> Float[Array, "H W"]:
    """Compute E of a view that was not observed, as the released code stores it (its unit is not nats).

    Args:
        information: sum of `train_information` over the training views.
        inputs: Gaussians at the time of the view, its camera, and the settings of the render.
    """
    view, camera = _project(inputs), inputs.camera
    h = squared_gradients(view, jnp.ones((camera.height, camera.width)))
    features = jnp.stack([h / (information + REGULARIZER), view.splats.depth], -1)
    out, alpha = _blend(view, features)
    depth = out[..., 1] / jnp.maximum(alpha, 1e-10)
    ratio = jnp.where(depth > DEPTH_MIN, out[..., 0], 0.0) / jnp.maximum(last_places(view), 1.0) / DIVISOR
    return jnp.where(alpha < ALPHA_MIN, SENTINEL, jnp.log1p(ratio) + 1e-9)


def squared_gradients(view: _ProjectedView, cotangent: Float[Array, "H W"]) -> Float[Array, "N"]:
    """Compute h_i, the sum over pixels and entries of (cotangent_p d(sum of the channels) / d entry)^2."""
    splats = view.splats
    brightness = jnp.sum(splats.color, -1, keepdims=True)
    image, _ = _blend(view, brightness)
    table = [splats.mean2d, splats.conic, splats.opacity[:, None], brightness, _roots(view)]
    table = jnp.where(splats.opacity[:, None] > 0, jnp.concatenate(table, -1), 0.0)
    pixels = to_tiles(jnp.concatenate([image, cotangent[..., None] ** 2], -1), view.bins.grid)

    def first(pixels: tuple, px: Array) -> tuple:
        return jnp.ones_like(px), pixels[0]

    def step(row: list, px: Array, py: Array, pixels: tuple, state: tuple) -> tuple[tuple, tuple]:
        (T, behind), conic = state, tuple(row[2:5])
        dx, dy, sigma = falloff(tuple(row[:2]), conic, px, py)
        alpha, slope = alpha_of(row[5], sigma)
        w = alpha * T
        behind = behind - w * row[6]
        by_alpha = alpha_slope(T, row[6], behind, alpha)
        x = [by_alpha * g for g in alpha_gradient(dx, dy, conic, slope)] + [w]
        R = row[7:35]
        lines = [sum(R[k * 7 - k * (k - 1) // 2 + j - k] * x[j] for j in range(k, 7)) for k in range(7)]
        return (T - w, behind), (pixels[1] * (sum(line * line for line in lines) + w * w * row[35]),)

    return _walk(step, view, table, pixels, first, 1)[1][:, 0]


def last_places(view: _ProjectedView) -> Float[Array, "H W"]:
    """Compute n_p: the place in its tile list, from 1, of the last Gaussian that a pixel blends; 0 without any.

    A Gaussian that would leave less than 1e-4 of the light is not blended, nor is anything behind it.
    """
    splats = view.splats
    table = jnp.concatenate([splats.mean2d, splats.conic, splats.opacity[:, None]], -1)
    table = jnp.where(splats.opacity[:, None] > 0, table, 0.0)
    grid = view.bins.grid
    pixels = to_tiles(jnp.zeros((grid.height, grid.width, 1)), grid)

    def first(pixels: tuple, px: Array) -> tuple:
        return jnp.ones_like(px), jnp.zeros_like(px), jnp.zeros_like(px)

    def step(row: list, px: Array, py: Array, _: tuple, state: tuple) -> tuple[tuple, tuple]:
        T, place, last = state
        alpha = alpha_of(row[5], falloff(tuple(row[:2]), tuple(row[2:5]), px, py)[2])[0]
        left = T * (1 - alpha)
        blended = (alpha > 0) & (left >= T_STOP)
        # A pixel that is done stays done: T = 0.
        return (jnp.where(left >= T_STOP, left, 0.0), place + 1, jnp.where(blended, place + 1, last)), ()

    state, _ = _walk(step, view, table, pixels, first, 0)
    return from_tiles(state[:, 2:], grid)[..., 0]


def _roots(view: _ProjectedView) -> Float[Array, "N 29"]:
    """Compute, per Gaussian, R (7 x 7, upper triangle) with |R x|^2 = sum of squares over the entries, and the rest.

    x = (d s / d footprint (6), w) depends on the pixel. The rest, of the spherical harmonics, multiplies w^2.
    """
    gaussians, camera = view.inputs.world.gaussians, view.inputs.camera
    J, push = _footprint_jacobian(view), _color_slope(gaussians, camera)
    both = jnp.concatenate([jnp.swapaxes(J, 1, 2), jnp.pad(push, ((0, 0), (0, _ENTRIES - 3)))[..., None]], -1)
    both = jnp.where((view.splats.opacity > 0)[:, None, None], both, 0.0)
    R = jnp.linalg.qr(both, mode="r")  # R^T R without forming it: long thin footprints would cancel
    rows, columns = jnp.triu_indices(7)
    basis = sh_basis(_directions(gaussians.means, camera), gaussians.sh.shape[1])
    rest = jnp.sum(basis**2, -1) * jnp.sum(view.splats.color > 0, -1)
    return jnp.concatenate([R[:, rows, columns], rest[:, None]], -1)


def _footprint_jacobian(view: _ProjectedView) -> Float[Array, "N 6 11"]:
    """Compute d (mean2d, conic, log opacity) / d (mean, scale, quaternion, opacity)."""
    (gaussians, alive, _), settings, camera = view.inputs.world, view.inputs.settings, view.inputs.camera
    quats = gaussians.quats / jnp.linalg.norm(gaussians.quats, axis=-1, keepdims=True)

    def footprint(delta: Float[Array, "N 11"]) -> Float[Array, "N 6"]:
        moved = Gaussians3D(
            gaussians.means + delta[:, :3],
            quats + delta[:, 6:10],
            jnp.exp(gaussians.log_scales) + delta[:, 3:6],
            opacities(gaussians, alive) + delta[:, 10],
            gaussians.sh,
        )
        matrices = CameraMatrices(camera.camera_from_world, camera.K)
        out = project(moved, matrices, settings.projection(camera))
        opacity = jnp.where(out.opacity > 0, out.opacity, 1.0)
        return jnp.concatenate([out.mean2d, out.conic, jnp.log(opacity)[:, None]], -1)

    zero = jnp.zeros((gaussians.capacity, _ENTRIES))
    _, push = jax.linearize(footprint, zero)
    return jax.vmap(push, out_axes=-1)(jnp.broadcast_to(jnp.eye(_ENTRIES)[:, None], (_ENTRIES, *zero.shape)))


def _color_slope(gaussians: Gaussians, camera: Camera) -> Float[Array, "N 3"]:
    """Compute d (sum of the channels) / d mean through the direction of view, 1/m."""

    def brightness(mean: Float[Array, "3"], sh: Float[Array, "K 3"]) -> Float[Array, ""]:
        basis = sh_basis(_directions(mean[None], camera), sh.shape[0])[0]
        return jnp.sum(jnp.maximum(jnp.matmul(basis, sh, precision="highest") + 0.5, 0.0))

    return jax.vmap(jax.grad(brightness))(gaussians.means, gaussians.sh)


def _directions(means: Float[Array, "N 3"], camera: Camera) -> Float[Array, "N 3"]:
    """Compute unit vectors from the camera center to `means`."""
    offset = means - camera.world_from_camera[:3, 3]
    return offset * jax.lax.rsqrt(jnp.maximum(jnp.sum(offset * offset, -1, keepdims=True), 1e-24))


def _project(inputs: RenderInput) -> _ProjectedView:
    """Project and bin a view with the tile size and the color bands of the released code."""
    require_pinhole(inputs.camera, "the EIG map of the released code")
    gaussians = inputs.world.gaussians
    gaussians = gaussians.replace(sh=gaussians.sh[:, : (SH_DEGREE + 1) ** 2])
    settings = dataclasses.replace(inputs.settings, tile=TILE)
    inputs = RenderInput(inputs.world._replace(gaussians=gaussians), inputs.camera, settings, SH_DEGREE)
    splats = project_gaussians(inputs)
    return _ProjectedView(inputs, splats, bin_gaussians(splats, inputs.camera, settings))


def _blend(view: _ProjectedView, features: Float[Array, "N C"]) -> tuple[Float[Array, "H W C"], Float[Array, "H W"]]:
    return rasterize(view.splats, features, view.bins, implementation=view.inputs.settings.implementation)


def _walk(
    step: Callable, view: _ProjectedView, table: Array, pixels: Array, first: Callable, num_sums: int
) -> tuple[Array, Array]:
    return walk_tiles(one_by_one(step), view.bins, table, pixels, first, num_sums)
