"""What the cameras of a simulated vehicle see: color, depth, classes and EIG."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, UInt8

from ff_jax.pipeline.any_view import render_any
from ff_jax.render.gaussians import rgb_to_dc
from ff_jax.render.renderer import expected_depth
from ff_jax.scene import RenderedScene, Scene
from ff_jax.simulation.requests import ImageRequest
from ff_jax.simulation.scene import SimulatedScene, to_bytes

BACKGROUND, GROUND, ACTOR, SKY = range(4)  # classes
CLASSES = ("background", "ground", "actor", "sky")


class Observation(NamedTuple):
    """One image of a camera."""

    rgb: UInt8[np.ndarray, "H W 3"]
    depth: Float[np.ndarray, "H W"]  # expected camera z, meters; `renderer.SKY_DEPTH` in the sky
    semantic: UInt8[np.ndarray, "H W"]  # index of CLASSES
    eig: Float[np.ndarray, "H W"] | None  # nats; None if it was not asked for


def observe(scene: SimulatedScene, request: ImageRequest, *, use_trust: bool) -> Observation:
    """Render all layers of an image; errors as in `SimulatedScene.render`.

    Args:
        scene: the scene.
        request: camera, time and objects.
        use_trust: whether to compute the EIG map.
    """
    model, view, rendered = scene.render_scene(request)
    painted = model.replace(scene=paint_classes(model.scene))
    _, classes = render_any(painted, view, {(view.camera.width, view.camera.height): model.settings})
    return Observation(
        rgb=np.asarray(to_bytes(rendered.rgb)),
        depth=np.asarray(expected_depth(rendered.depth, rendered.alpha)),
        semantic=np.asarray(_strongest_class(classes)),
        eig=scene.trust_of_view(model, view).eig if use_trust else None,
    )


def paint_classes(scene: Scene) -> Scene:
    """Give every Gaussian the color of its class: red, green and blue are background, ground and actor."""
    rows = jnp.arange(scene.node.shape[0])
    kind = jnp.where(scene.node > 0, ACTOR, jnp.where(rows < scene.num_ground, GROUND, BACKGROUND))
    sh = jnp.zeros_like(scene.params.gaussians.sh).at[:, 0].set(rgb_to_dc(jax.nn.one_hot(kind, 3)))
    return scene.replace(params=scene.params.replace(gaussians=scene.params.gaussians.replace(sh=sh)))


@jax.jit
def _strongest_class(rendered: RenderedScene) -> UInt8[Array, "H W"]:
    """Select the class with the largest weight in each pixel of a painted scene; the sky has what is left."""
    left = 1 - rendered.alpha[..., None]
    weights = jnp.concatenate([rendered.linear - left * rendered.sky, left], -1)
    return jnp.argmax(weights, -1).astype(jnp.uint8)
