"""Degrade ground-truth images, depths and labels by known amounts, to check that metrics react."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import ndimage

from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import Box, Lane, SceneData
from ff_jax.data.synthetic import Street, render_street
from ff_jax.data.synthetic.edits import single_frame
from ff_jax.evaluation.renderers import RenderedTarget, Renderer
from ff_jax.evaluation.shifted_views import Target
from ff_jax.render.camera import make_camera

_render = jax.jit(render_street, static_argnames=("samples",))


class Degradation(NamedTuple):
    """One kind of degradation at increasing levels."""

    name: str
    unit: str
    levels: tuple[float, ...]


BLUR = Degradation("blur", "sigma, pixels", (0.0, 1.0, 2.0, 4.0, 8.0))
NOISE = Degradation("noise", "standard deviation, color and relative depth", (0.0, 0.02, 0.05, 0.1, 0.2))
# Lane lines are 3.4 m apart: labels with more than half of that offset come closer to the next line.
LATERAL = Degradation("lateral", "labels to the left, meters", (0.0, 0.2, 0.4, 0.8, 1.6))

Image = Float[np.ndarray, "H W 3"]


def blur(image: Image, sigma: float) -> Image:
    """Blur an image with a Gaussian of `sigma` pixels."""
    return ndimage.gaussian_filter(image, (sigma, sigma, 0)) if sigma else image


def add_noise(values: Float[np.ndarray, "..."], deviation: float, seed: int) -> Float[np.ndarray, "..."]:
    """Add independent normal noise."""
    noise = np.random.default_rng(seed).normal(size=values.shape)
    return (values + deviation * noise).astype(values.dtype)


def true_depth(street: Street, target: Target) -> Float[np.ndarray, "H W"]:
    """Render the exact camera z of a view of the synthetic street in meters; nan in the sky."""
    frame = target.frame
    camera = make_camera(frame.K, target.pose, frame.width, frame.height)
    view = _render(single_frame(street, frame.time_index), camera, jnp.float32(frame.time), samples=1)
    depth = np.asarray(view.depth)
    return np.where(np.asarray(view.sky) < 0.5, depth, np.nan)


def degraded_renderers(street: Street, degradations: tuple[Degradation, ...] = (BLUR, NOISE)) -> dict[str, Renderer]:
    """Make renderers of ground-truth images of the synthetic street with each degradation at each level.

    Noise is added to colors and, relative to it, to depth; it differs between views.
    """
    cache: dict[tuple, tuple] = {}  # of the last view

    def truth(target: Target) -> tuple[Image, Float[np.ndarray, "H W"]]:
        key = (target.shift, target.frame.camera, target.frame.time_index)
        if key not in cache:
            cache.clear()
            cache[key] = load_image(target.frame), true_depth(street, target)
        return cache[key]

    def renderer(degradation: Degradation, level: float) -> Renderer:
        def render(target: Target) -> RenderedTarget:
            image, depth = truth(target)
            if degradation is BLUR:
                return RenderedTarget(blur(image, level), depth)
            seed = target.frame.time_index
            rgb = np.clip(add_noise(image, level, seed), 0, 1)
            return RenderedTarget(rgb, depth * add_noise(np.ones_like(depth), level, seed + 10_000))

        return render

    return {
        version_name(degradation, level): renderer(degradation, level)
        for degradation in degradations
        for level in degradation.levels
    }


def version_name(degradation: Degradation, level: float) -> str:
    """Name a degradation at a level."""
    return f"{degradation.name} {level:g}"


def shift_labels(log: SceneData, meters: float) -> SceneData:
    """Move the boxes and lanes of a log to the left."""

    def offset(time_index: int) -> Float[np.ndarray, "3"]:
        return meters * log.world_from_ego[time_index, :3, 1]

    def move(box: Box) -> Box:
        pose = box.world_from_object.copy()
        pose[:3, 3] += offset(box.time_index)
        return replace(box, world_from_object=pose)

    # The map has no time; the street is nearly straight, so the first heading serves for all.
    lanes = tuple(Lane(lane.kind, lane.points + offset(0)) for lane in log.lanes)
    return replace(log, boxes=tuple(map(move, log.boxes)), lanes=lanes)
