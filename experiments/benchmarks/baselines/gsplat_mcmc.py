"""Train gsplat (CUDA, PyTorch) with its MCMC strategy on the same log, initial points, steps and Gaussian count.

    python -m experiments.benchmarks.baselines.gsplat_mcmc --config=experiments/configs/kitti_stereo.py \\
        --out=runs/gsplat.json

Needs `pip install gsplat==1.5.3`, PyTorch with CUDA and a CUDA compiler. Settings are those of gsplat's own MCMC
trainer: initial opacity 0.5, scale 0.1 of the neighbor distance, regularizers 0.01, one color band per 1000 steps.
It uses the same data: pixel masks, and LiDAR depth with the same loss and weight. It has no sky, no actors and no
exposure per image. The same functions score the same frames, pixels and LiDAR points.
"""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from absl import flags
from jaxtyping import Float

from experiments.benchmarks.baselines import gsplat_render
from experiments.cli import command_line
from ff_jax.data.loader import load_image, load_mask
from ff_jax.data.open import open_log
from ff_jax.data.points.initial import nearest_distances
from ff_jax.data.points.lidar import lidar_depth
from ff_jax.data.recording import Recording
from ff_jax.data.scene_data import Frame, SceneData, invert_rigid
from ff_jax.evaluation.shifted_views import RenderArrays, ShiftScore, by_shift, score, targets
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.initialize import background_points, make_recording
from ff_jax.runtime.progress import progress
from ff_jax.train.batches import frame_at, scene_radius

if TYPE_CHECKING:
    import torch

_CONFIG = command_line.config_flag(None)
_OUT = flags.DEFINE_string("out", None, "JSON file for the figures.", required=True)
_ANTIALIASED = flags.DEFINE_bool("antialiased", False, "Use gsplat's antialiased rasterization.")

TorchCamera = tuple["torch.Tensor", "torch.Tensor"]  # camera_from_world (1, 4, 4) and K (1, 3, 3)


def make_parameters(
    xyz: Float[np.ndarray, "M 3"], rgb: Float[np.ndarray, "M 3"], radius: float
) -> tuple["torch.nn.ParameterDict", dict[str, "torch.optim.Adam"]]:
    """Make gsplat's parameters and one Adam per group."""
    import torch

    spacing = np.clip(nearest_distances(xyz), 1e-4, None) * 0.1
    count = len(xyz)
    quats = np.random.default_rng(0).random((count, 4))
    sh = np.zeros((count, 16, 3))
    sh[:, 0] = (rgb - 0.5) / 0.28209479177387814
    values = {
        "means": (xyz, 1.6e-4 * radius),
        "scales": (np.log(np.repeat(spacing[:, None], 3, 1)), 5e-3),
        "quats": (quats, 1e-3),
        "opacities": (np.full(count, math.log(0.5 / 0.5)), 5e-2),
        "sh0": (sh[:, :1], 2.5e-3),
        "shN": (sh[:, 1:], 2.5e-3 / 20),
    }
    params = torch.nn.ParameterDict({name: torch.nn.Parameter(_on_gpu(value)) for name, (value, _) in values.items()})

    def adam(name: str, rate: float) -> torch.optim.Adam:
        return torch.optim.Adam([{"params": params[name], "lr": rate, "name": name}], eps=1e-15)

    return params, {name: adam(name, rate) for name, (_, rate) in values.items()}


def _on_gpu(array: Any) -> "torch.Tensor":
    import torch

    return torch.tensor(np.asarray(array), dtype=torch.float32, device="cuda")


def camera_on_gpu(frame: Frame) -> TorchCamera:
    """Upload camera_from_world and K of a frame, each with a leading axis of one camera."""
    return _on_gpu(invert_rigid(frame.world_from_camera))[None], _on_gpu(frame.K)[None]


def render(
    params: "torch.nn.ParameterDict", camera: TorchCamera, size: tuple[int, int], degree: int, *, depth: bool
) -> tuple["torch.Tensor", "torch.Tensor", dict[str, Any]]:
    """Render with gsplat: color (H, W, 3), or color and depth times weight (H, W, 4); opacity (H, W); bookkeeping.

    Args:
        params: the Gaussians.
        camera: from `camera_on_gpu`.
        size: width and height, pixels.
        degree: highest color band.
        depth: whether to render depth.
    """
    import torch
    from gsplat import rasterization

    out, alpha, info = rasterization(
        params["means"],
        params["quats"],
        torch.exp(params["scales"]),
        torch.sigmoid(params["opacities"]),
        torch.cat([params["sh0"], params["shN"]], 1),
        *camera,
        *size,
        sh_degree=degree,
        packed=False,
        render_mode="RGB+D" if depth else "RGB",
        rasterize_mode="antialiased" if _ANTIALIASED.value else "classic",
    )
    return out[0], alpha[0, ..., 0], info


def ssim_window() -> "torch.Tensor":
    """Make the 11x11 Gaussian window (sigma 1.5) of SSIM, one per channel."""
    import torch

    g = torch.exp(-((torch.arange(11, device="cuda") - 5.0) ** 2) / 4.5)
    return ((g / g.sum())[:, None] * (g / g.sum())[None]).expand(3, 1, 11, 11).contiguous()


def ssim_map(a: "torch.Tensor", b: "torch.Tensor", window: "torch.Tensor") -> "torch.Tensor":
    """Compute the SSIM (H, W) of two (H, W, 3) images."""
    import torch

    a, b = a.permute(2, 0, 1)[None], b.permute(2, 0, 1)[None]

    def blur(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(x, window, groups=3, padding=5)

    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    return (((2 * ma * mb + 1e-4) * (2 * cov + 9e-4)) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))[0].mean(0)


def image_loss(
    out: "torch.Tensor", image: "torch.Tensor", weight: "torch.Tensor", window: "torch.Tensor"
) -> "torch.Tensor":
    """Compute 0.8 L1 + 0.2 (1 - SSIM) of two (H, W, 3) images, weighted by pixel (H, W)."""
    return (weight * (0.8 * (out - image).abs().mean(-1) + 0.2 * (1 - ssim_map(out, image, window)))).mean()


def depth_loss(depth: "torch.Tensor", alpha: "torch.Tensor", measured: "torch.Tensor") -> "torch.Tensor":
    """Compute the relative error of expected depth at LiDAR points (`ff_jax.train.losses.depth_l1`); all (H, W)."""
    hit = measured > 0
    if not hit.any():
        return depth.sum() * 0
    error = (depth[hit] / alpha[hit].clamp(min=1e-3) - measured[hit]).abs() / measured[hit]
    return error.clamp(max=1).mean()


class Supervision(NamedTuple):
    """Training data of one frame."""

    image: "torch.Tensor"  # (H, W, 3)
    weight: "torch.Tensor"  # (H, W)
    depth: "torch.Tensor"  # (H, W), LiDAR depth in meters; 0 without


def load_supervision(
    log: SceneData, frames: Sequence[Frame], config: FuseConfig, device: str = "cuda"
) -> list[Supervision]:
    """Load and upload the training data of all frames."""
    import torch

    def load(frame: Frame) -> Supervision:
        weight = load_mask(frame, "valid") * (1 - load_mask(frame, "dynamic"))
        empty = np.zeros((frame.height, frame.width), np.float32)
        depth = lidar_depth(log, frame) if config.data.use_lidar else empty
        return Supervision(*(torch.tensor(array, device=device) for array in (load_image(frame), weight, depth)))

    return [load(frame) for frame in frames]


def train(recording: Recording, config: FuseConfig) -> tuple["torch.nn.ParameterDict", float, int]:
    """Train gsplat; return its parameters, the seconds and the peak memory in bytes."""
    import torch
    from gsplat import MCMCStrategy

    frames = recording.frames
    # All frames are uploaded before training: an upload per step would make the baseline wait for the host.
    supervision = load_supervision(recording.log, frames, config)
    cameras, size, window = [camera_on_gpu(frame) for frame in frames], recording.image_size, ssim_window()
    radius = scene_radius(np.stack([frame.world_from_camera for frame in frames]))
    params, optimizers = make_parameters(*background_points(recording, config), radius)
    strategy = MCMCStrategy(cap_max=config.recon.budget, refine_stop_iter=config.recon.density.stop)
    state = strategy.initialize_state()
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizers["means"], 0.01 ** (1 / config.steps))
    torch.cuda.synchronize()
    start = time.time()
    for step in progress(range(config.steps), "gsplat"):
        index = frame_at(config.seed, step, len(frames))
        degree = min(step // 1000, 3)
        out, alpha, info = render(params, cameras[index], size, degree, depth=config.data.use_lidar)
        image, weight, measured = supervision[index]
        loss = image_loss(out[..., :3], image, weight, window)
        if config.data.use_lidar:
            loss = loss + config.recon.loss.depth * depth_loss(out[..., 3], alpha, measured)
        loss = loss + 0.01 * torch.sigmoid(params["opacities"]).mean() + 0.01 * torch.exp(params["scales"]).mean()
        loss.backward()
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        decay.step()
        rate = decay.get_last_lr()[0]
        strategy.step_post_backward(params, optimizers, state, step, info, lr=rate)
    torch.cuda.synchronize()
    return params, time.time() - start, torch.cuda.max_memory_allocated()


def score_views(params: "torch.nn.ParameterDict", log: SceneData, config: FuseConfig) -> list[ShiftScore]:
    """Score the same views with ground truth as a run of `config`."""
    import torch

    rows = []
    for target in targets(log, config.evaluate.shifts, config.evaluate.frames):
        if not target.has_truth:
            continue
        size = target.frame.width, target.frame.height
        with torch.no_grad():
            out, alpha, _ = render(params, camera_on_gpu(target.frame), size, 3, depth=True)
            depth = torch.where(alpha > 0.5, out[..., 3] / alpha.clamp(min=0.5), torch.inf).cpu().numpy()
        result = RenderArrays(out[..., :3].clamp(0, 1).cpu().numpy(), np.zeros(depth.shape, np.float32), depth)
        rows.append(score(lambda _, result=result: result, target, log))
    return by_shift(rows)


def main(_: list[str]) -> None:
    """Train, score the test frames per lateral offset, write the figures."""
    gsplat_render.require()
    config = command_line.to_config(_CONFIG.value)
    log = open_log(command_line.with_log_path(config).data)
    params, seconds, memory = train(make_recording(log, config), config)
    figures = {
        "seconds": seconds,
        "steps_per_second": config.steps / seconds,
        "peak_bytes": memory,
        "gaussians": len(params["means"]),
        "shifts": [row._asdict() for row in score_views(params, log, config)],
    }
    Path(_OUT.value).parent.mkdir(parents=True, exist_ok=True)
    Path(_OUT.value).write_text(json.dumps(figures, indent=2).replace("NaN", "null"))
    print(json.dumps(figures))


if __name__ == "__main__":
    command_line.run(main)
