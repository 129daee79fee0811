"""Signals that need at most one number per Gaussian or camera: opacity, distance, and inverse color information."""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ff_jax.eig.information import Precision
from ff_jax.eig.released_formula import released_map, train_information
from ff_jax.render.camera import Camera
from ff_jax.render.renderer import RenderInput, bin_gaussians, expected_depth, project_gaussians, ray_directions
from ff_jax.scene import RenderedScene, SceneModel, View, render_scene
from ff_jax.train.batch import Batch
from ff_jax.train.batches import TrainBatches
from kernels import rasterize, unpack_symmetric

_COLOR_PRIOR = 1e-6  # FisherRF's regularizer


@jax.jit
def missing_opacity(model: SceneModel, statistics: None, view: View) -> Float[Array, "H W"]:
    """Compute 1 - accumulated opacity."""
    return 1 - render_scene(model, view).alpha


@jax.jit
def camera_distance(model: SceneModel, centers: Float[Array, "F 3"], view: View) -> Float[Array, "H W"]:
    """Compute the distance (meters) from the surface that each pixel shows to the nearest training camera."""
    return nearest_camera(render_scene(model, view), view.camera, centers)


def camera_centers(batches: TrainBatches) -> Float[Array, "F 3"]:
    """List the centers of the training cameras, meters."""
    views = (batches.batch(index).view for index in range(len(batches)))
    return jnp.stack([view.camera.world_from_camera[:3, 3] for view in views])


def nearest_camera(rendered: RenderedScene, camera: Camera, centers: Float[Array, "F 3"]) -> Float[Array, "H W"]:
    """Compute the distance, meters, from the surface that each pixel shows to the nearest of some camera centers."""
    rays = ray_directions(camera)
    along = jnp.matmul(rays, camera.camera_from_world[2, :3], precision="highest")  # camera z of one meter of ray
    if camera.lens is not None and camera.lens.has_angular_depth:  # depth is the distance
        along = jnp.ones_like(along)
    depth = expected_depth(rendered.depth, rendered.alpha)
    points = camera.world_from_camera[:3, 3] + rays * (depth / along)[..., None]
    distances = [jnp.linalg.norm(points - center, axis=-1) for center in centers]
    return functools.reduce(jnp.minimum, distances)


@jax.jit
def color_uncertainty(model: SceneModel, information: Float[Array, "N"], view: View) -> Float[Array, "H W"]:
    """Blend the inverse of the color information of every Gaussian (after FisherRF, arXiv 2311.17874)."""
    return blend_values(1 / (information + _COLOR_PRIOR), model.render_input(view))


def color_information(precision: Precision, model: SceneModel) -> Float[Array, "N"]:
    """Sum the Fisher information of the colors of every Gaussian over its coefficients and the three channels."""
    coefficients = model.scene.params.gaussians.sh.shape[1]
    return 3 * jnp.sum(jnp.diagonal(unpack_symmetric(precision.color, coefficients), axis1=-2, axis2=-1), -1)


def blend_values(values: Float[Array, "N"], inputs: RenderInput) -> Float[Array, "H W"]:
    """Blend one number per Gaussian into an image."""
    splats = project_gaussians(inputs.replace(sh_degree=0))
    bins = bin_gaussians(splats, inputs.camera, inputs.settings)
    out, _ = rasterize(splats, values[:, None], bins, implementation=inputs.settings.implementation)
    return out[..., 0]


@jax.jit
def released_signal(model: SceneModel, information: Float[Array, "N"], view: View) -> Float[Array, "H W"]:
    """Compute the map of FaithFusion's released code."""
    return released_map(information, model.render_input(view))


def released_information(model: SceneModel, batches: TrainBatches) -> Float[Array, "N"]:
    """Sum the information of the released code over all recorded views."""
    total = jnp.zeros(model.scene.params.gaussians.capacity)
    for index in range(len(batches)):
        total = total + _released_information(model, batches.batch(index))
    return total


@jax.jit
def _released_information(model: SceneModel, batch: Batch) -> Float[Array, "N"]:
    sky = jnp.where(batch.sky_known, batch.sky, False).astype(jnp.float32)
    return train_information(model.render_input(batch.view), sky)
