"""Time forward and backward passes on a CPU, beside a plain vectorized PyTorch program of the same mathematics.

    python -m experiments.benchmarks.baselines.torch_cpu --scene=50k_640x192

gsplat's own PyTorch path needs CUDA for its tile lists, so the baseline is a direct implementation: project all
Gaussians at once; then, per tile, blend the Gaussians whose box touches it with a cumulative product; autograd does the
rest. Both render the same arrays; images and gradients are compared before they are timed. XLA runs the small
operations of a tile on one core, so here the scene is split over as many CPU devices as there are cores.
"""

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch
from absl import flags

from experiments.benchmarks.scenes import round_up, to_gaussians
from experiments.cli import command_line
from ff_jax.render.camera import Camera
from ff_jax.render.gaussians import WorldGaussians
from ff_jax.render.multi_device import make_shards, placements
from ff_jax.render.renderer import RenderInput, RenderOutput, RenderSettings, render
from kernels import ALPHA_MAX, ALPHA_MIN, Gaussians3D
from kernels.project.specs import SCENE_NAMES, SceneSpec, make_scene, named_scene

_SCENE = flags.DEFINE_string("scene", "50k_640x192", f"Random scene: one of {SCENE_NAMES}.")
_DEVICES = flags.DEFINE_integer(
    "devices", 2, "CPU devices of JAX that share the scene, one per core.", lower_bound=1, upper_bound=1_024
)
_REPEATS = flags.DEFINE_integer(
    "repeats", 5, "Number of timed calls; the result is their median.", lower_bound=1, upper_bound=1_000_000
)
PARAMETERS = Gaussians3D._fields
TILE, SH0 = 16, 0.28209479177387814


def rotations(quats: torch.Tensor) -> torch.Tensor:
    """Convert wxyz quaternions to rotation matrices (N, 3, 3)."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def project(scene: dict[str, torch.Tensor], spec: SceneSpec) -> tuple[torch.Tensor, ...]:
    """Project: mean2d, conic, opacity, color, depth and half-size of the box of Gaussians before the camera."""
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


def render_torch(scene: dict[str, torch.Tensor], spec: SceneSpec) -> torch.Tensor:
    """Render the image tile by tile."""
    mean, conic, opacity, color, depth, radius = project(scene, spec)
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
    """Measure the median time of a call, ms, after one for warm-up."""
    call()
    times = []
    for _ in range(_REPEATS.value):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def bench_torch(spec: SceneSpec, arrays: dict[str, np.ndarray], target: np.ndarray) -> tuple[float, np.ndarray, dict]:
    """Measure ms per forward and backward pass of PyTorch; also return the image and the gradients."""
    scene = {name: torch.tensor(array) for name, array in arrays.items()}
    for name in PARAMETERS:
        scene[name].requires_grad_()

    def both() -> torch.Tensor:
        for name in PARAMETERS:
            scene[name].grad = None
        image = render_torch(scene, spec)
        (image - torch.tensor(target)).abs().mean().backward()
        return image

    time_ms, image = median_ms(both), both()
    return time_ms, image.detach().numpy(), {name: scene[name].grad.numpy() for name in PARAMETERS}


def bench_here(spec: SceneSpec, arrays: dict[str, np.ndarray], target: np.ndarray) -> tuple[float, np.ndarray, dict]:
    """Measure the same of this renderer; its devices share the scene."""
    scene = {name: jnp.asarray(array) for name, array in arrays.items()}
    shards = make_shards() if len(jax.devices()) > 1 else None
    camera = Camera(scene["K"], scene["camera_from_world"], spec.width, spec.height)
    alive = jnp.ones(spec.gaussians, bool)

    def render_jax(parameters: dict[str, jax.Array], settings: RenderSettings) -> RenderOutput:
        return render(RenderInput(WorldGaussians(to_gaussians(parameters), alive), camera, settings, spec.sh_degree))

    parameters, capacity = {name: scene[name] for name in PARAMETERS}, 0
    count = jax.jit(lambda p, settings: render_jax(p, settings).num_intersections, static_argnums=1)
    num_intersections = int(count(parameters, RenderSettings(capacity=1 << 16, shards=shards)))
    while num_intersections > capacity:  # the number is an upper bound if the lists are too short
        capacity = num_intersections
        num_intersections = int(count(parameters, RenderSettings(capacity=capacity, shards=shards)))
    settings = RenderSettings(capacity=round_up(num_intersections, 1024), shards=shards)

    def loss(parameters: dict[str, jax.Array], target: jax.Array) -> tuple[jax.Array, jax.Array]:
        image = render_jax(parameters, settings).rgb
        return jnp.abs(image - target).mean(), image

    both = jax.jit(jax.value_and_grad(loss, has_aux=True))
    if shards is not None:
        parameters = jax.device_put(parameters, placements(parameters, spec.gaussians, shards))

    def call() -> tuple:
        return jax.block_until_ready(both(parameters, jnp.asarray(target)))

    (_, image), gradients = call()
    return median_ms(call), np.asarray(image), {name: np.asarray(g) for name, g in gradients.items()}


def main(_: list[str]) -> None:
    """Print the agreement and both times."""
    spec = named_scene(_SCENE.value)
    jax.config.update("jax_num_cpu_devices", _DEVICES.value)
    arrays = make_scene(spec, np.random.default_rng(0))
    target = np.random.default_rng(1).random((spec.height, spec.width, 3), np.float32)
    here_ms, image, gradients = bench_here(spec, arrays, target)
    torch_ms, torch_image, torch_gradients = bench_torch(spec, arrays, target)
    difference = np.abs(image - torch_image)
    print(f"image: largest difference {difference.max():.1e}, mean {difference.mean():.1e}")
    for name, gradient in gradients.items():
        error = np.linalg.norm(gradient - torch_gradients[name]) / np.linalg.norm(gradient)
        print(f"gradient of {name}: relative {error:.1e}")
    facts = f"{_SCENE.value}, {torch.get_num_threads()} threads, {_DEVICES.value} devices"
    print(f"{facts}: {here_ms:.0f} ms here, {torch_ms:.0f} ms PyTorch, ratio {torch_ms / here_ms:.1f}")


if __name__ == "__main__":
    command_line.run(main)
