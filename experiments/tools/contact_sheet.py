"""Draw a contact sheet of synthetic streets: front view, shifted view, depth, labels with LiDAR.

python -m experiments.tools.contact_sheet --seeds=1,3,9 --output=docs/images/world_contact_sheet.png
"""

from pathlib import Path

import jax
import matplotlib
import numpy as np
from absl import flags
from jaxtyping import Float

from experiments.cli import command_line
from ff_jax.data.synthetic import (
    LidarReturns,
    StreetConfig,
    StreetView,
    make_street,
    render_street,
    rig_camera,
    simulate_lidar,
)
from ff_jax.data.synthetic.edits import single_frame
from ff_jax.export.image_bytes import save_png
from ff_jax.render.camera import Camera, make_camera
from ff_jax.render.trajectories import shift_laterally

_SEEDS = flags.DEFINE_list("seeds", ["1", "3", "9"], "Seeds of the streets, one row each.")
_FRAME = flags.DEFINE_integer("frame", 8, "Frame of the drive.", lower_bound=0, upper_bound=1_000_000)
_SHIFT = flags.DEFINE_float(
    "shift", 3.0, "Lateral shift of the second column, meters to the left.", lower_bound=-100.0, upper_bound=100.0
)
_WIDTH = flags.DEFINE_integer("width", 480, "Width of an image, pixels.", lower_bound=1, upper_bound=16_384)
_HEIGHT = flags.DEFINE_integer("height", 288, "Height of an image, pixels.", lower_bound=1, upper_bound=16_384)
_SAMPLES = flags.DEFINE_integer("samples", 3, "Rays per pixel and axis.", lower_bound=1, upper_bound=64)
_OUTPUT = flags.DEFINE_string("output", "docs/images/world_contact_sheet.png", "File to write.")

_render, _sweep = jax.jit(render_street, static_argnames="samples"), jax.jit(simulate_lidar)


def draw_depth(depth: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W 3"]:
    """Color depth on a logarithmic scale; the sky is black."""
    near, far = np.log(3.0), np.log(150.0)
    image = matplotlib.colormaps["turbo_r"]((np.log(np.maximum(depth, 1.0)) - near) / (far - near))[..., :3]
    return np.where(depth[..., None] > 0, image, 0.0)


def draw_labels(view: StreetView, camera: Camera, sweep: LidarReturns) -> Float[np.ndarray, "H W 3"]:
    """Tint instances on a dimmed image and draw LiDAR points, colored by height."""
    gray = 0.5 * np.asarray(view.rgb).mean(-1, keepdims=True)
    image = np.where(np.asarray(view.sky)[..., None], [0.1, 0.2, 0.4], gray)
    instance = np.asarray(view.instance)
    tints = matplotlib.colormaps["tab20"](instance % 20)[..., :3]
    image = np.where(instance[..., None] > 0, 0.4 * image + 0.6 * tints, image)
    points = np.asarray(sweep.points)[np.asarray(sweep.valid)]
    pose = np.asarray(camera.camera_from_world) @ np.asarray(sweep.world_from_lidar)
    in_camera = points @ pose[:3, :3].T + pose[:3, 3]
    front = in_camera[:, 2] > 1.0
    uvw = in_camera[front] @ np.asarray(camera.K).T
    u, v = np.floor(uvw[:, :2] / uvw[:, 2:]).astype(int).T
    inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    colors = matplotlib.colormaps["spring"](np.clip((points[front, 2] + 2.0) / 6.0, 0, 1))[:, :3]
    image[v[inside], u[inside]] = colors[inside]
    return image


def draw_row(seed: int) -> Float[np.ndarray, "H W 3"]:
    """Draw the images of one street side by side."""
    index, samples = _FRAME.value, _SAMPLES.value
    street = make_street(seed, StreetConfig())
    if index >= len(street.times):
        raise ValueError(f"invalid --frame={index}: expected a number from 0 to {len(street.times) - 1}.")
    camera = rig_camera(street, index, "front", _WIDTH.value, _HEIGHT.value)
    pose = shift_laterally(np.array(camera.world_from_camera), np.array(street.world_from_ego[index]), _SHIFT.value)
    shifted = make_camera(camera.K, pose, camera.width, camera.height)
    now, time = single_frame(street, index), street.times[index]
    first, second = (_render(now, c, time, samples=samples) for c in (camera, shifted))
    labels = draw_labels(first, camera, _sweep(jax.random.key(seed), now, 0))
    return np.concatenate([first.rgb, second.rgb, draw_depth(np.asarray(first.depth)), labels], 1)


def main(_: list[str]) -> None:
    """Render and write the sheet."""
    rows = [draw_row(seed) for seed in command_line.parse_numbers(_SEEDS, int)]
    save_png(Path(_OUTPUT.value), np.concatenate(rows))
    print(f"{len(rows)} streets in {_OUTPUT.value}")


if __name__ == "__main__":
    command_line.run(main)
