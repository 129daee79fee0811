"""The peer: gsplat (CUDA, PyTorch) with its MCMC strategy on the same log, initial points, steps and Gaussian count.

    python -m experiments.benchmarks.baselines.gsplat_mcmc --config=experiments/configs/kitti_stereo.py \\
        --out=runs/gsplat.json

Needs `pip install gsplat==1.5.3`, PyTorch with CUDA and a CUDA compiler. Settings are those of gsplat's own MCMC
trainer: initial opacity 0.5, scale 0.1 of the neighbour distance, regularisers 0.01, colour band every 1000 steps.
What the log knows it gets as well: pixels that do not count are left out, and depth is held against LiDAR with the
same loss and weight as here. It has no sky, no actors and no exposure per image. Scored are the same frames, pixels
and LiDAR points, by the same functions.
"""

import json
import math
import time
from pathlib import Path

import numpy as np
from absl import flags

from experiments.benchmarks.baselines import gsplat_render
from experiments.cli import command_line
from ff_jax.data.loader import load_image, load_mask
from ff_jax.data.open import open_log
from ff_jax.data.points.initial import lidar_depth, nearest_distances
from ff_jax.data.scene_data import Frame, SceneData, invert
from ff_jax.evaluation.shifted_views import ShiftScore, by_shift, score, targets
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.initialize import start_points
from ff_jax.runtime.run_log import progress
from ff_jax.train.batches import frame_at, scene_radius

_CONFIG = command_line.config_flag(None)
_OUT = flags.DEFINE_string("out", None, "JSON file for the figures.", required=True)
_ANTIALIASED = flags.DEFINE_bool("antialiased", False, "gsplat's antialiased rasterization.")


def parameters(xyz, rgb, radius: float):
    """Return gsplat's parameters and one Adam per group."""
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
    tensor = lambda x: torch.nn.Parameter(torch.tensor(np.asarray(x), dtype=torch.float32, device="cuda"))
    params = torch.nn.ParameterDict({name: tensor(value) for name, (value, _) in values.items()})
    adam = lambda name, rate: torch.optim.Adam([{"params": params[name], "lr": rate, "name": name}], eps=1e-15)
    return params, {name: adam(name, rate) for name, (_, rate) in values.items()}


def on_device(frame: Frame):
    """Return camera_from_world and K of a frame, each with a leading axis of one camera."""
    import torch

    tensor = lambda x: torch.tensor(np.asarray(x), dtype=torch.float32, device="cuda")[None]
    return tensor(invert(frame.world_from_camera)), tensor(frame.K)


def draw(params, camera, size: tuple[int, int], degree: int, *, depth: bool):
    """Return gsplat's render (H, W, 3), with `depth` (H, W, 4): metres times weight; opacity (H, W); and bookkeeping.

    `camera` is from `on_device`, `size` width and height.
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


def ssim_window():
    """Return the 11x11 Gaussian (sigma 1.5) of SSIM, one per channel."""
    import torch

    g = torch.exp(-((torch.arange(11, device="cuda") - 5.0) ** 2) / 4.5)
    return ((g / g.sum())[:, None] * (g / g.sum())[None]).expand(3, 1, 11, 11).contiguous()


def structure(a, b, window):
    """Return the SSIM (H, W) of two (H, W, 3) images."""
    import torch

    a, b = a.permute(2, 0, 1)[None], b.permute(2, 0, 1)[None]
    blur = lambda x: torch.nn.functional.conv2d(x, window, groups=3, padding=5)
    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    return (((2 * ma * mb + 1e-4) * (2 * cov + 9e-4)) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))[0].mean(0)


def image_loss(out, image, weight, window):
    """Return 0.8 L1 + 0.2 (1 - SSIM) of two (H, W, 3) images, weighted by pixel (H, W)."""
    return (weight * (0.8 * (out - image).abs().mean(-1) + 0.2 * (1 - structure(out, image, window)))).mean()


def depth_loss(depth, alpha, measured):
    """Return the relative error of expected depth at LiDAR points (`ff_jax.train.losses.depth_l1`); all (H, W)."""
    hit = measured > 0
    if not hit.any():
        return depth.sum() * 0
    error = (depth[hit] / alpha[hit].clamp(min=1e-3) - measured[hit]).abs() / measured[hit]
    return error.clamp(max=1).mean()


def supervision(log: SceneData, frames: list[Frame], config: FuseConfig, device: str = "cuda"):
    """Return per frame its image, how far each pixel counts, and LiDAR depth (0 without), uploaded once."""
    import torch

    upload = lambda x: torch.tensor(x, device=device)
    weight = lambda frame: load_mask(frame, "valid") * (1 - load_mask(frame, "dynamic"))
    empty = lambda frame: np.zeros((frame.height, frame.width), np.float32)
    depth = lambda frame: lidar_depth(log, frame) if config.data.use_lidar else empty(frame)
    return [(upload(load_image(f)), upload(weight(f)), upload(depth(f))) for f in frames]


def train(log: SceneData, config: FuseConfig):
    """Train gsplat and return its parameters, seconds and peak memory in bytes."""
    import torch
    from gsplat import MCMCStrategy

    frames = [frame for frame in log.frames if frame.split == "train"]
    # Uploaded once: an upload per step would make the peer wait for the host.
    known = supervision(log, frames, config)
    cameras = [on_device(frame) for frame in frames]
    size = frames[0].width, frames[0].height
    window = ssim_window()
    radius = scene_radius(np.stack([frame.world_from_camera for frame in frames]))
    params, optimizers = parameters(*start_points(log, tuple(frames), config), radius)
    strategy = MCMCStrategy(cap_max=config.recon.budget, refine_stop_iter=config.recon.density.stop)
    state = strategy.initialize_state()
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizers["means"], 0.01 ** (1 / config.steps))
    torch.cuda.synchronize()
    started = time.time()
    for step in progress(range(config.steps), "gsplat"):
        index = frame_at(config.seed, step, len(frames))
        degree = min(step // 1000, 3)
        out, alpha, info = draw(params, cameras[index], size, degree, depth=config.data.use_lidar)
        image, weight, measured = known[index]
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
    return params, time.time() - started, torch.cuda.max_memory_allocated()


def scored(params, log: SceneData, config: FuseConfig) -> list[ShiftScore]:
    """Return the scores of the views with ground truth that a run of `config` is scored at."""
    import torch

    rows = []
    for target in targets(log, config.evaluate.shifts, config.evaluate.frames):
        if not target.has_truth:
            continue
        size = target.frame.width, target.frame.height
        with torch.no_grad():
            out, alpha, _ = draw(params, on_device(target.frame), size, 3, depth=True)
            depth = torch.where(alpha > 0.5, out[..., 3] / alpha.clamp(min=0.5), torch.inf).cpu().numpy()
        seen = out[..., :3].clamp(0, 1).cpu().numpy(), np.zeros(depth.shape, np.float32), depth
        rows.append(score(lambda _, seen=seen: seen, target, log))
    return by_shift(rows)


def main(_: list[str]) -> None:
    """Train, score the test frames per lateral offset, write the figures."""
    gsplat_render.require()
    config = command_line.to_config(_CONFIG.value)
    log = open_log(command_line.with_log_path(config).data)
    params, seconds, memory = train(log, config)
    figures = {
        "seconds": seconds,
        "steps_per_second": config.steps / seconds,
        "peak_bytes": memory,
        "gaussians": len(params["means"]),
        "shifts": [row._asdict() for row in scored(params, log, config)],
    }
    Path(_OUT.value).parent.mkdir(parents=True, exist_ok=True)
    Path(_OUT.value).write_text(json.dumps(figures, indent=2).replace("NaN", "null"))
    print(json.dumps(figures))


if __name__ == "__main__":
    command_line.run(main)
