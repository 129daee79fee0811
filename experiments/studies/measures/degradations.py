"""Known faults put into true images, depths and labels: a metric that is any good must see them."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import ndimage

from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import Box, Lane, SceneData
from ff_jax.data.synthetic import World, render_world
from ff_jax.data.synthetic.edits import moment
from ff_jax.evaluation.renderers import Renderer, Rendering
from ff_jax.evaluation.shifted_views import Target
from ff_jax.render.camera import make_camera

_render = jax.jit(render_world, static_argnames=("samples",))


class Fault(NamedTuple):
    """One kind of fault at growing levels."""

    name: str
    unit: str
    levels: tuple[float, ...]


BLUR = Fault("blur", "sigma, pixels", (0.0, 1.0, 2.0, 4.0, 8.0))
NOISE = Fault("noise", "standard deviation, colour and relative depth", (0.0, 0.02, 0.05, 0.1, 0.2))
# Lane lines stand 3.4 m apart: labels further off than half of that come closer to the next line.
LATERAL = Fault("lateral", "labels to the left, metres", (0.0, 0.2, 0.4, 0.8, 1.6))

Image = Float[np.ndarray, "H W 3"]


def blurred(image: Image, sigma: float) -> Image:
    """Return the image after a Gaussian blur of `sigma` pixels."""
    return ndimage.gaussian_filter(image, (sigma, sigma, 0)) if sigma else image


def noisy(values: Float[np.ndarray, "..."], deviation: float, seed: int) -> Float[np.ndarray, "..."]:
    """Return the values with independent normal noise added."""
    drawn = np.random.default_rng(seed).normal(size=values.shape)
    return (values + deviation * drawn).astype(values.dtype)


def true_depth(world: World, target: Target) -> Float[np.ndarray, "H W"]:
    """Return the exact camera z of a view of the built-in street in metres, nan in the sky."""
    frame = target.frame
    camera = make_camera(frame.K, target.pose, frame.width, frame.height)
    seen = _render(moment(world, frame.time_index), camera, jnp.float32(frame.time), samples=1)
    depth = np.asarray(seen.depth)
    return np.where(np.asarray(seen.sky) < 0.5, depth, np.nan)


def faulty_renderers(world: World, faults: tuple[Fault, ...] = (BLUR, NOISE)) -> dict[str, Renderer]:
    """Return renderers that show true images of the built-in street with every fault at every level.

    Noise falls on colours and, relative to it, on depth, afresh in every view.
    """
    kept: dict[tuple, tuple] = {}

    def truth(target: Target) -> tuple[Image, Float[np.ndarray, "H W"]]:
        key = (target.shift, target.frame.camera, target.frame.time_index)
        if key not in kept:
            kept.clear()
            kept[key] = load_image(target.frame), true_depth(world, target)
        return kept[key]

    def renderer(fault: Fault, level: float) -> Renderer:
        def render(target: Target) -> Rendering:
            image, depth = truth(target)
            if fault is BLUR:
                return Rendering(blurred(image, level), depth)
            seed = target.frame.time_index
            rgb = np.clip(noisy(image, level, seed), 0, 1)
            return Rendering(rgb, depth * noisy(np.ones_like(depth), level, seed + 10_000))

        return render

    return {version(fault, level): renderer(fault, level) for fault in faults for level in fault.levels}


def version(fault: Fault, level: float) -> str:
    """Return the name of a fault at a level."""
    return f"{fault.name} {level:g}"


def moved_labels(log: SceneData, metres: float) -> SceneData:
    """Return the log with its boxes and lanes `metres` to the left of where they are."""

    def aside(time_index: int) -> Float[np.ndarray, "3"]:
        return metres * log.world_from_ego[time_index, :3, 1]

    def box(one: Box) -> Box:
        pose = one.world_from_object.copy()
        pose[:3, 3] += aside(one.time_index)
        return replace(one, world_from_object=pose)

    # One map serves all times; the street is nearly straight, so the first heading does.
    lanes = tuple(Lane(lane.kind, lane.points + aside(0)) for lane in log.lanes)
    return replace(log, boxes=tuple(map(box, log.boxes)), lanes=lanes)
