"""What a fixer repairs, by name: the render, the render without what is far, or LiDAR points.

"render": the render. "near": the render with black pixels where the scene is farther than `FAR`, in the sky and along
the border of the sky; a restorer has to generate them (ReconDreamer, arXiv 2411.19548, whose distance and border are
not published). "lidar": the colors of the LiDAR condition (FreeVS, arXiv 2410.18079). The repair of another source
than the render replaces every pixel: there is no render to keep.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float

from ff_jax.eig.scene_posterior import EigRender
from ff_jax.fixers.conditions import Conditions
from ff_jax.fixers.triples import from_bytes
from ff_jax.render.renderer import SKY_DEPTH

FAR = 60.0  # meters
BORDER = 0.01  # of the sky, in image widths


def source_frames(source: str, clip: EigRender, conditions: Conditions) -> Float[Array, "T H W 3"]:
    """Return the frames that a fixer repairs.

    Args:
        source: one of `fixers.fixer.SOURCES`.
        clip: the renders.
        conditions: those of the fixer.
    """
    if source == "render":
        return clip.rgb
    if source == "lidar":
        return from_bytes(conditions["lidar"])[..., :3]
    return jnp.where(is_far(clip.depth)[..., None], 0.0, clip.rgb)


@jax.jit
def is_far(depth: Float[Array, "T H W"]) -> Bool[Array, "T H W"]:
    """Select the pixels that "near" leaves out, from expected camera z in meters."""
    size = 2 * max(round(BORDER * depth.shape[-1]), 1) + 1
    sky = (depth >= SKY_DEPTH).astype(jnp.float32)
    near_sky = lax.reduce_window(sky, 0.0, lax.max, (1, size, size), (1, 1, 1), "SAME") > 0.0
    return (depth > FAR) | near_sky
