"""Measure one scene rendered by several devices: time, communication, memory, and equality of the images.

    python -m experiments.benchmarks.multi_device --devices=1,2,4       # 2.8 million Gaussians at 1920x1080
    python -m experiments.benchmarks.multi_device --devices=1,2 --gaussians=500 --size=64x48  # on simulated devices

One line of JSON per number of Gaussians and devices: times (ms) of a render, and of one with its gradient with respect
to Gaussians and camera; bytes that each device sends to others in a render and, on top of it, for the gradient,
counted from the shapes of what is exchanged (`ff_jax.render.multi_device.bytes_sent`); memory per device (MB) that XLA
reserves for arguments, results and everything between; the largest differences from the first line of as many
Gaussians (of pixels; of gradients relative to the largest number in each array). One device renders without exchange.
The capacities of lists and messages are an eighth above the need.
"""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax import Array
from jaxtyping import PyTree

from experiments.benchmarks.scenes import memory_mb, round_up, to_gaussians
from experiments.cli import command_line
from ff_jax.render.camera import Camera
from ff_jax.render.gaussians import Gaussians, WorldGaussians
from ff_jax.render.multi_device import bytes_sent, make_shards, placements
from ff_jax.render.renderer import RenderInput, RenderOutput, RenderSettings, render
from kernels.project.specs import SceneSpec, make_scene
from kernels.tools.timing import time_ms

_DEVICES = flags.DEFINE_list("devices", ["1"], "Numbers of devices.")
_GAUSSIANS = flags.DEFINE_list("gaussians", ["2800000"], "Numbers of Gaussians.")
_SIZE = flags.DEFINE_string("size", "1920x1080", "Size of the image, pixels.")
_REPEATS = flags.DEFINE_integer("repeats", 20, "Number of timed calls.", lower_bound=1, upper_bound=1_000_000)
_LIST_UNIT, _MESSAGE_UNIT = 1024, 64  # capacities of lists and of messages are multiples of these
_NUM_PER_CUBE = 112_000  # Gaussians of a cube of 4 m: more Gaussians fill a larger box at the same density

WorldAndCamera = tuple[WorldGaussians, Camera]


def make_view(count: int, width: int, height: int) -> WorldAndCamera:
    """Make `count` random Gaussians in front of a camera."""
    half = 2.0 * max(1.0, (count / _NUM_PER_CUBE) ** 0.5)
    spec = SceneSpec(count, width, height, (half, 2.0, half))
    arrays = {name: jnp.asarray(array) for name, array in make_scene(spec, np.random.default_rng(0)).items()}
    camera = Camera(arrays["K"], arrays["camera_from_world"], width, height)
    return WorldGaussians(to_gaussians(arrays), jnp.ones(count, bool)), camera


def render_view(view: WorldAndCamera, settings: RenderSettings) -> RenderOutput:
    """Render a view with constant colors."""
    return render(RenderInput(*view, settings, sh_degree=0))


def place_view(view: WorldAndCamera, parts: int) -> tuple[RenderSettings, WorldAndCamera, dict[str, int]]:
    """Choose capacities for `parts` devices and place the arrays; also return the counts."""
    devices = jax.devices()[:parts]
    shards = make_shards(devices) if parts > 1 else None
    placement = devices[0] if shards is None else placements(view, len(view[0].alive), shards)
    view, settings = jax.device_put(view, placement), RenderSettings(capacity=_LIST_UNIT, shards=shards)
    count = jax.jit(lambda view, settings: render_view(view, settings)[3:], static_argnums=1)
    num_intersections, num_sent = map(int, count(view, settings))
    while num_intersections > settings.capacity:
        settings = RenderSettings(capacity=round_up(num_intersections, _LIST_UNIT), shards=shards)
        num_intersections, num_sent = map(int, count(view, settings))
    if shards is not None:
        shards = make_shards(devices, round_up(num_sent, _MESSAGE_UNIT))
    settings = RenderSettings(capacity=round_up(num_intersections, _LIST_UNIT), shards=shards)
    return settings, view, {"intersections": num_intersections, "sent": num_sent}


def measure(view: WorldAndCamera, parts: int) -> tuple[dict[str, Any], PyTree]:
    """Measure a view on `parts` devices; also return the image and the gradients, on the host."""
    settings, view, counts = place_view(view, parts)
    world, camera = view

    def image(view: WorldAndCamera) -> Array:
        out = render_view(view, settings)
        return jnp.concatenate([out.rgb, out.depth[..., None], out.alpha[..., None]], -1)

    def loss(gaussians: Gaussians, camera: Camera, alive: Array) -> Array:
        rendered = image((WorldGaussians(gaussians, alive), camera))
        return jnp.mean(rendered * jnp.cos(jnp.arange(camera.width, dtype=jnp.float32))[:, None])

    inputs = (world.gaussians, camera, world.alive)
    forward = jax.jit(image).lower(view).compile()
    both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(*inputs).compile()
    figures = {
        "forward_ms": round(time_ms(forward, view, repeats=_REPEATS.value), 4),
        "forward_backward_ms": round(time_ms(both, *inputs, repeats=_REPEATS.value), 4),
        "memory_MB": {"forward": round(memory_mb(forward), 3), "forward_backward": round(memory_mb(both), 3)},
        "bytes_sent": {"splats": 0, "image": 0, "gradient": 0},
    }
    if settings.shards is not None:
        sent = bytes_sent(len(world.alive), camera.width, camera.height, settings.tile_size, settings.shards)
        figures["bytes_sent"] = {**sent._asdict(), "gradient": sent.splats}
        counts |= {"send_capacity": settings.shards.send_capacity}
    return figures | counts | {"capacity": settings.capacity}, jax.device_get((forward(view), both(*inputs)[1]))


def largest_difference(results: PyTree, expected: PyTree) -> float:
    """Compute the largest difference of any array, relative to the largest number in it."""

    def difference(x: np.ndarray, y: np.ndarray) -> float:
        return np.abs(x - y).max() / max(np.abs(y).max(), 1e-30)

    return float(max(map(difference, jax.tree.leaves(results), jax.tree.leaves(expected))))


def main(_: list[str]) -> None:
    """Print one line for each number of Gaussians and devices."""
    devices, counts = command_line.parse_numbers(_DEVICES, int), command_line.parse_numbers(_GAUSSIANS, int)
    width, height = command_line.parse_pair(_SIZE.value, "x", "size")
    if not (1 <= width <= 16_384 and 1 <= height <= 16_384):
        raise ValueError(f"invalid --size={_SIZE.value!r}: expected WIDTHxHEIGHT of 1 to 16384 pixels.")
    if min(devices) < 1 or max(devices) > len(jax.devices()):
        expected = f"numbers of devices from 1 to {len(jax.devices())}"
        raise ValueError(f"invalid --devices={','.join(_DEVICES.value)}: expected {expected}.")
    for count in counts:
        first = None
        for parts in devices:
            figures, result = measure(make_view(count, width, height), parts)
            first = first or result
            image_difference = float(np.abs(result[0] - first[0]).max())
            difference = {"image": image_difference, "gradient": largest_difference(result[1], first[1])}
            kind = jax.devices()[0].device_kind
            line = {"gaussians": count, "width": width, "height": height, "devices": parts, "device": kind}
            print(json.dumps(line | figures | {"difference": difference}), flush=True)


if __name__ == "__main__":
    command_line.run(main)
