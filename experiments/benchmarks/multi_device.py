"""One scene rendered by several devices: time, communication, memory, and that the picture is the same.

    python -m experiments.benchmarks.multi_device --devices=1,2,4       # 2.8 million Gaussians at 1920x1080
    python -m experiments.benchmarks.multi_device --devices=1,2 --gaussians=500 --size=64x48  # on simulated devices

One line of JSON per number of Gaussians and devices: times (ms) of a render, and of one with its gradient with respect
to Gaussians and camera; bytes that each device sends to others in a render and, on top of it, for the gradient,
counted from the shapes of what is exchanged (`ff_jax.render.multi_device.bytes_sent`); memory per device (MB) that XLA
reserves for arguments, results and everything between; the largest differences from the first line of as many
Gaussians (of pixels; of gradients relative to the largest number in each array). One device renders as usual, without
exchange. Lists and messages have room for an eighth more than they need.
"""

import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax import Array
from jaxtyping import PyTree

from experiments.cli import command_line
from ff_jax.render.camera import Camera
from ff_jax.render.gaussians import Gaussians
from ff_jax.render.multi_device import bytes_sent, make_shards, placements
from ff_jax.render.renderer import RenderSettings, render
from kernels.common.timing import time_ms
from kernels.project.specs import SceneSpec, make_scene

_DEVICES = flags.DEFINE_list("devices", ["1"], "Numbers of devices.")
_GAUSSIANS = flags.DEFINE_list("gaussians", ["2800000"], "Numbers of Gaussians.")
_SIZE = flags.DEFINE_string("size", "1920x1080", "Of the image, pixels.")
_REPEATS = flags.DEFINE_integer("repeats", 20, "Timed calls.", lower_bound=1)
_LIST, _MESSAGE = 1024, 64  # sizes of lists and of messages are multiples of these
_CROWD = 112_000  # Gaussians of a cube of 4 m: more of them take more room, not more of every pixel


class View(NamedTuple):
    """What is rendered."""

    gaussians: Gaussians
    alive: Array
    camera: Camera


def make_view(count: int, width: int, height: int) -> View:
    """Return `count` random Gaussians in front of a camera."""
    half = 2.0 * max(1.0, (count / _CROWD) ** 0.5)
    spec = SceneSpec(count, width, height, (half, 2.0, half))
    arrays = {name: jnp.asarray(array) for name, array in make_scene(spec, np.random.default_rng(0)).items()}
    logits = jnp.log(arrays["opacities"] / (1 - arrays["opacities"]))
    gaussians = Gaussians(arrays["means"], arrays["quats"], jnp.log(arrays["scales"]), logits, arrays["sh"])
    camera = Camera(arrays["K"], arrays["camera_from_world"], width, height)
    return View(gaussians, jnp.ones(count, bool), camera)


def roomy(needed: int, unit: int) -> int:
    """Return a multiple of `unit` with an eighth to spare."""
    return -(-max(needed, 1) * 9 // 8 // unit) * unit


def fitted(view: View, parts: int) -> tuple[RenderSettings, View, dict[str, int]]:
    """Return settings with enough room on `parts` devices, the arrays placed on them, and what was counted."""
    devices = jax.devices()[:parts]
    shards = make_shards(devices) if parts > 1 else None
    where = devices[0] if shards is None else placements(view, len(view.alive), shards)
    view, settings = jax.device_put(view, where), RenderSettings(capacity=_LIST, shards=shards)
    count = jax.jit(lambda view, settings: render(*view, settings, sh_degree=0)[3:], static_argnums=1)
    needed, sent = map(int, count(view, settings))
    while needed > settings.capacity:
        settings = RenderSettings(capacity=roomy(needed, _LIST), shards=shards)
        needed, sent = map(int, count(view, settings))
    if shards is not None:
        shards = make_shards(devices, roomy(sent, _MESSAGE))
    return RenderSettings(capacity=roomy(needed, _LIST), shards=shards), view, {"intersections": needed, "sent": sent}


def memory_mb(program: jax.stages.Compiled) -> float:
    """Return the memory of a compiled program on each device, MB: shared bytes once."""
    found = program.memory_analysis()
    parts = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    return round((parts - found.alias_size_in_bytes) / 1e6, 3)


def measure(view: View, parts: int) -> tuple[dict[str, Any], PyTree]:
    """Return the figures of a view on `parts` devices; and the image and the gradients, on the host."""
    settings, view, counts = fitted(view, parts)
    camera = view.camera

    def image(view: View) -> Array:
        out = render(*view, settings, sh_degree=0)
        return jnp.concatenate([out.rgb, out.depth[..., None], out.alpha[..., None]], -1)

    def loss(gaussians: Gaussians, camera: Camera, alive: Array) -> Array:
        seen = image(View(gaussians, alive, camera))
        return jnp.mean(seen * jnp.cos(jnp.arange(camera.width, dtype=jnp.float32))[:, None])

    inputs = (view.gaussians, camera, view.alive)
    forward = jax.jit(image).lower(view).compile()
    both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(*inputs).compile()
    figures = {
        "forward_ms": round(time_ms(forward, view, repeats=_REPEATS.value), 4),
        "forward_backward_ms": round(time_ms(both, *inputs, repeats=_REPEATS.value), 4),
        "memory_MB": {"forward": memory_mb(forward), "forward_backward": memory_mb(both)},
        "bytes_sent": {"splats": 0, "image": 0, "gradient": 0},
    }
    if settings.shards is not None:
        sent = bytes_sent(len(view.alive), camera.width, camera.height, settings.tile_size, settings.shards)
        figures["bytes_sent"] = {**sent._asdict(), "gradient": sent.splats}
        counts |= {"room": settings.shards.room}
    return figures | counts | {"capacity": settings.capacity}, jax.device_get((forward(view), both(*inputs)[1]))


def largest(got: PyTree, wanted: PyTree) -> float:
    """Return the largest difference of any array, relative to the largest number in it."""
    gap = lambda x, y: np.abs(x - y).max() / max(np.abs(y).max(), 1e-30)
    return float(max(map(gap, jax.tree.leaves(got), jax.tree.leaves(wanted))))


def main(_: list[str]) -> None:
    """Print one line per number of Gaussians and devices."""
    devices, counts = command_line.numbers(_DEVICES, int), command_line.numbers(_GAUSSIANS, int)
    width, height = command_line.pair(_SIZE.value, "x", "size")
    if min(devices) < 1 or max(devices) > len(jax.devices()):
        there = len(jax.devices())
        raise ValueError(f"--devices={','.join(_DEVICES.value)} is wrong: give numbers of devices from 1 to {there}.")
    for count in counts:
        first = None
        for parts in devices:
            figures, result = measure(make_view(count, width, height), parts)
            first = first or result
            same = {"image": float(np.abs(result[0] - first[0]).max()), "gradient": largest(result[1], first[1])}
            kind = jax.devices()[0].device_kind
            line = {"gaussians": count, "width": width, "height": height, "devices": parts, "device": kind}
            print(json.dumps(line | figures | {"difference": same}), flush=True)


if __name__ == "__main__":
    command_line.run(main)
