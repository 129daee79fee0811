"""Draw a contact sheet of procedural streets: front view, shifted view, depth, labels with LiDAR.

python -m experiments.tools.contact_sheet --seeds=1,3,9 --output=docs/images/world_contact_sheet.png
"""

from pathlib import Path

import jax
import matplotlib
import numpy as np
from absl import flags

from experiments.cli import command_line
from ff_jax.data.synthetic import WorldConfig, lidar_sweep, make_world, render_world, rig_camera
from ff_jax.data.synthetic.edits import moment
from ff_jax.export.image_bytes import save_png
from ff_jax.render.camera import make_camera
from ff_jax.render.trajectories import shift_laterally

_SEEDS = flags.DEFINE_list("seeds", ["1", "3", "9"], "Streets to draw, one row each.")
_FRAME = flags.DEFINE_integer("frame", 8, "Frame of the drive.", lower_bound=0)
_SHIFT = flags.DEFINE_float("shift", 3.0, "Lateral shift of the second column, metres to the left.")
_WIDTH = flags.DEFINE_integer("width", 480, "Pixels of one picture.", lower_bound=1)
_HEIGHT = flags.DEFINE_integer("height", 288, "Pixels of one picture.", lower_bound=1)
_SAMPLES = flags.DEFINE_integer("samples", 3, "Rays per pixel and axis.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "docs/images/world_contact_sheet.png", "Where to write the sheet.")

_render, _sweep = jax.jit(render_world, static_argnames="samples"), jax.jit(lidar_sweep)


def depth_picture(depth):
    """Colour metres on a logarithmic scale; the sky is black."""
    near, far = np.log(3.0), np.log(150.0)
    picture = matplotlib.colormaps["turbo_r"]((np.log(np.maximum(depth, 1.0)) - near) / (far - near))[..., :3]
    return np.where(depth[..., None] > 0, picture, 0.0)


def label_picture(view, camera, sweep):
    """Tint instances on a dimmed picture and draw LiDAR points coloured by height."""
    grey = 0.5 * np.asarray(view.rgb).mean(-1, keepdims=True)
    picture = np.where(np.asarray(view.sky)[..., None], [0.1, 0.2, 0.4], grey)
    instance = np.asarray(view.instance)
    tints = matplotlib.colormaps["tab20"](instance % 20)[..., :3]
    picture = np.where(instance[..., None] > 0, 0.4 * picture + 0.6 * tints, picture)
    points = np.asarray(sweep.points)[np.asarray(sweep.valid)]
    pose = np.asarray(camera.camera_from_world) @ np.asarray(sweep.world_from_lidar)
    seen = points @ pose[:3, :3].T + pose[:3, 3]
    front = seen[:, 2] > 1.0
    uvw = seen[front] @ np.asarray(camera.K).T
    u, v = np.floor(uvw[:, :2] / uvw[:, 2:]).astype(int).T
    inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    colors = matplotlib.colormaps["spring"](np.clip((points[front, 2] + 2.0) / 6.0, 0, 1))[:, :3]
    picture[v[inside], u[inside]] = colors[inside]
    return picture


def row(seed: int) -> np.ndarray:
    """Return the pictures of one street side by side."""
    index, samples = _FRAME.value, _SAMPLES.value
    world = make_world(seed, WorldConfig())
    if index >= len(world.times):
        raise ValueError(f"--frame={index} is wrong: the drive has {len(world.times)} frames, from 0.")
    camera = rig_camera(world, index, "front", _WIDTH.value, _HEIGHT.value)
    moved = shift_laterally(np.array(camera.world_from_camera), np.array(world.world_from_ego[index]), _SHIFT.value)
    other = make_camera(camera.K, moved, camera.width, camera.height)
    now, time = moment(world, index), world.times[index]
    first, second = (_render(now, c, time, samples=samples) for c in (camera, other))
    labels = label_picture(first, camera, _sweep(jax.random.key(seed), now, 0))
    return np.concatenate([first.rgb, second.rgb, depth_picture(np.asarray(first.depth)), labels], 1)


def main(_: list[str]) -> None:
    """Render and write the sheet."""
    rows = [row(seed) for seed in command_line.numbers(_SEEDS, int)]
    save_png(Path(_OUTPUT.value), np.concatenate(rows))
    print(f"{len(rows)} streets in {_OUTPUT.value}")


if __name__ == "__main__":
    command_line.run(main)
