"""Forward and backward on a CPU beside a plain vectorised PyTorch program of the same maths.

    python -m experiments.benchmarks.baselines.torch_cpu --scene=50k_640x192

gsplat's own PyTorch path needs CUDA for its tile lists, so the peer is written here the way one would: project all
Gaussians at once, then per tile blend the Gaussians whose box touches it with a cumulative product, and let autograd
do the rest. Both render the same arrays; images and gradients are compared before they are timed. XLA runs the small
operations of a walk on one core, so here the scene is split over as many CPU devices as there are cores.
"""

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch
from absl import flags

from experiments.benchmarks.scenes import PARAMETERS
from experiments.cli import command_line
from ff_jax.render.camera import Camera
from ff_jax.render.gaussians import Gaussians
from ff_jax.render.multi_device import make_shards, placements
from ff_jax.render.renderer import RenderOut, RenderSettings
from ff_jax.render.renderer import render as drawn
from kernels.project.specs import KNOWN, SceneSpec, make_scene, named
from kernels.rasterize.alpha_blending import ALPHA_MAX, ALPHA_MIN

_SCENE = flags.DEFINE_string("scene", "50k_640x192", f"Random scene: one of {KNOWN}.")
_DEVICES = flags.DEFINE_integer("devices", 2, "CPU devices of JAX that share the scene: one per core.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Timed calls of which the median counts.", lower_bound=1)
TILE, SH0 = 16, 0.28209479177387814


def rotations(quats: torch.Tensor) -> torch.Tensor:
    """Return rotation matrices (N, 3, 3) of wxyz quaternions."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def splats(scene: dict[str, torch.Tensor], spec: SceneSpec) -> tuple[torch.Tensor, ...]:
    """Return mean2d, conic, opacity, colour, depth and the radii of boxes of what lies before the camera."""
    pose, K = scene["camera_from_world"], scene["K"]
    points = scene["means"] @ pose[:3, :3].T + pose[:3, 3]
    front = points[:, 2] > 0.2
    x, y, z = points[front].unbind(-1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    limits = [
        ((size - c) / f + 0.15 * size / f, -c / f - 0.15 * size / f)
        for size, c, f in ((spec.width, cx, fx), (spec.height, cy, fy))
    ]
    u, v = ((a / z).clamp(float(low), float(high)) for a, (high, low) in zip((x, y), limits, strict=True))
    zero = torch.zeros_like(z)
    J = torch.stack([torch.stack([fx / z, zero, -fx * u / z], -1), torch.stack([zero, fy / z, -fy * v / z], -1)], -2)
    M = J @ pose[:3, :3] @ (rotations(scene["quats"][front]) * scene["scales"][front][:, None, :])
    covariance = M @ M.transpose(-1, -2) + 0.3 * torch.eye(2)
    conic = torch.linalg.inv(covariance)
    opacity = scene["opacities"][front]
    color = (scene["sh"][front, 0] * SH0 + 0.5).clamp(min=0)
    reach = (2 * (opacity / ALPHA_MIN).clamp(min=1).log())[:, None]
    radius = (reach * torch.diagonal(covariance, dim1=-2, dim2=-1)).sqrt().detach()
    return torch.stack([fx * x / z + cx, fy * y / z + cy], -1), conic, opacity, color, z, radius


def render(scene: dict[str, torch.Tensor], spec: SceneSpec) -> torch.Tensor:
    """Return the image, tile by tile."""
    mean, conic, opacity, color, depth, radius = splats(scene, spec)
    low, high = (mean - radius).detach(), (mean + radius).detach()
    order = torch.argsort(depth.detach())
    image = []
    for top in range(0, spec.height, TILE):
        row = []
        rows = order[(high[order, 1] > top) & (low[order, 1] < top + TILE)]
        for left in range(0, spec.width, TILE):
            ids = rows[(high[rows, 0] > left) & (low[rows, 0] < left + TILE)]
            y, x = torch.meshgrid(
                torch.arange(top, top + TILE) + 0.5, torch.arange(left, left + TILE) + 0.5, indexing="ij"
            )
            d = mean[ids, :, None] - torch.stack([x.reshape(-1), y.reshape(-1)])
            a, b, c = conic[ids, 0, 0, None], conic[ids, 0, 1, None], conic[ids, 1, 1, None]
            raw = opacity[ids, None] * torch.exp(-0.5 * (a * d[:, 0] ** 2 + c * d[:, 1] ** 2) - b * d[:, 0] * d[:, 1])
            alpha = torch.where(raw >= ALPHA_MIN, raw.clamp(max=ALPHA_MAX), 0.0)
            T = torch.cumprod(torch.cat([torch.ones(1, TILE * TILE), 1 - alpha]), 0)[:-1]
            row.append(((alpha * T).T @ color[ids]).reshape(TILE, TILE, 3))
        image.append(torch.cat(row, 1))
    return torch.cat(image)[: spec.height, : spec.width]


def median_ms(call: Callable[[], object]) -> float:
    """Return the median time of a call, ms, after one that warms up."""
    call()
    times = []
    for _ in range(_REPEATS.value):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def bench_torch(spec: SceneSpec, arrays: dict[str, np.ndarray], target: np.ndarray) -> tuple[float, np.ndarray, dict]:
    """Return ms per forward and backward, the image, and the gradients."""
    scene = {name: torch.tensor(array) for name, array in arrays.items()}
    for name in PARAMETERS:
        scene[name].requires_grad_()

    def both() -> torch.Tensor:
        for name in PARAMETERS:
            scene[name].grad = None
        image = render(scene, spec)
        (image - torch.tensor(target)).abs().mean().backward()
        return image

    time_ms, image = median_ms(both), both()
    return time_ms, image.detach().numpy(), {name: scene[name].grad.numpy() for name in PARAMETERS}


def bench_here(spec: SceneSpec, arrays: dict[str, np.ndarray], target: np.ndarray) -> tuple[float, np.ndarray, dict]:
    """Return ms per forward and backward, the image, and the gradients; one device per core shares the scene."""
    scene = {name: jnp.asarray(array) for name, array in arrays.items()}
    shards = make_shards() if len(jax.devices()) > 1 else None
    camera = Camera(scene["K"], scene["camera_from_world"], spec.width, spec.height)
    alive = jnp.ones(spec.gaussians, bool)

    def draw(parameters: dict, settings: RenderSettings) -> RenderOut:
        p = parameters
        logit = jnp.log(p["opacities"] / (1 - p["opacities"]))
        gaussians = Gaussians(p["means"], p["quats"], jnp.log(p["scales"]), logit, p["sh"])
        return drawn(gaussians, alive, camera, settings, sh_degree=spec.sh_degree)

    parameters, room = {name: scene[name] for name in PARAMETERS}, 0
    needed = jax.jit(lambda p, settings: draw(p, settings).needed, static_argnums=1)
    counted = int(needed(parameters, RenderSettings(capacity=1 << 16, shards=shards)))
    while counted > room:  # what a list too short reports is an upper bound
        room = counted
        counted = int(needed(parameters, RenderSettings(capacity=room, shards=shards)))
    settings = RenderSettings(capacity=-(-counted * 9 // 8 // 1024) * 1024, shards=shards)

    def loss(parameters: dict, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        image = draw(parameters, settings).rgb
        return jnp.abs(image - target).mean(), image

    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    if shards is not None:
        parameters = jax.device_put(parameters, placements(parameters, spec.gaussians, shards))
    call = lambda: jax.block_until_ready(run(parameters, jnp.asarray(target)))
    (_, image), gradients = call()
    return median_ms(call), np.asarray(image), {name: np.asarray(g) for name, g in gradients.items()}


def main(_: list[str]) -> None:
    """Print agreement and both times."""
    spec = named(_SCENE.value)
    jax.config.update("jax_num_cpu_devices", _DEVICES.value)
    arrays = make_scene(spec, np.random.default_rng(0))
    target = np.random.default_rng(1).random((spec.height, spec.width, 3), np.float32)
    here, image, gradients = bench_here(spec, arrays, target)
    peer, theirs, their_gradients = bench_torch(spec, arrays, target)
    print(f"image: largest difference {np.abs(image - theirs).max():.1e}, mean {np.abs(image - theirs).mean():.1e}")
    for name, ours in gradients.items():
        print(f"gradient of {name}: relative {np.linalg.norm(ours - their_gradients[name]) / np.linalg.norm(ours):.1e}")
    threads = f"{_SCENE.value}, {torch.get_num_threads()} threads, {_DEVICES.value} devices"
    print(f"{threads}: {here:.0f} ms here, {peer:.0f} ms PyTorch, ratio {peer / here:.1f}")


if __name__ == "__main__":
    command_line.run(main)
