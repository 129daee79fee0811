"""Render one view with gsplat (CUDA, PyTorch), as a whole and stage by stage.

Needs gsplat==1.5.3, PyTorch with CUDA and a CUDA compiler.
"""

import importlib.util
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels import Gaussians3D
from kernels.project.specs import SceneSpec

PARAMETERS = Gaussians3D._fields
TILE = 16


def require() -> None:
    """Check that gsplat can run on this machine, before anything takes long.

    Raises:
        ValueError: it cannot.
    """
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("gsplat") is None:
        raise ValueError("gsplat is missing: `pip install gsplat==1.5.3` beside PyTorch with CUDA.")
    import torch

    if not torch.cuda.is_available():
        raise ValueError("gsplat needs an NVIDIA GPU and PyTorch with CUDA, but torch finds no such device.")


def _synchronize(_: Any) -> None:
    import torch

    torch.cuda.synchronize()


def bench(spec: SceneSpec, arrays: dict[str, np.ndarray], median_ms: Callable) -> tuple[dict[str, Any], np.ndarray]:
    """Measure the times (ms) and memory (MB) of gsplat and of its stages; also return its image.

    Args:
        spec: image size and degree of spherical harmonics.
        arrays: fields of `kernels.Gaussians3D` and `kernels.CameraMatrices`.
        median_ms: (call, wait) -> ms.
    """
    import torch
    from gsplat import rasterization

    tensors = {name: torch.tensor(array, device="cuda") for name, array in arrays.items()}
    target = torch.tensor(np.random.default_rng(1).random((spec.height, spec.width, 3)), device="cuda").float()
    camera = tensors["camera_from_world"][None], tensors["K"][None], spec.width, spec.height

    def render() -> Any:
        means, quats, scales, opacities, sh = (tensors[name] for name in PARAMETERS)
        options = {"sh_degree": spec.sh_degree, "packed": False, "near_plane": 0.2, "eps2d": 0.3}
        return rasterization(means, quats, scales, opacities, sh, *camera, **options)[0][0]

    def both() -> Any:
        for name in PARAMETERS:
            tensors[name].grad = None
        loss = (render() - target).abs().mean()
        loss.backward()
        return loss

    times, memory = {}, {}
    torch.cuda.reset_peak_memory_stats()
    with torch.no_grad():
        times["forward"] = median_ms(render, _synchronize)
        memory["forward"] = torch.cuda.max_memory_allocated() / 1e6
        image = render().cpu().numpy()
    for name in PARAMETERS:
        tensors[name].requires_grad_()
    torch.cuda.reset_peak_memory_stats()
    times["forward+backward"] = median_ms(both, _synchronize)
    memory["forward+backward"] = torch.cuda.max_memory_allocated() / 1e6
    return times | {"memory_MB": memory, "stages": measure_stages(spec, tensors, median_ms)}, image


def measure_stages(spec: SceneSpec, tensors: dict[str, Any], median_ms: Callable) -> dict[str, float]:
    """Measure the times of gsplat's stages, ms; `with gradients` is a stage together with its backward pass."""
    import torch
    from gsplat.cuda._wrapper import (
        fully_fused_projection,
        isect_offset_encode,
        isect_tiles,
        rasterize_to_pixels,
        spherical_harmonics,
    )

    means, quats, scales, opacities, sh = (tensors[name] for name in PARAMETERS)
    view, K, size = tensors["camera_from_world"][None], tensors["K"][None], (spec.width, spec.height)
    grid = math.ceil(spec.width / TILE), math.ceil(spec.height / TILE)
    origin = torch.linalg.inv(tensors["camera_from_world"])[:3, 3]

    def project() -> tuple:
        options = {"eps2d": 0.3, "near_plane": 0.2, "opacities": opacities}
        radii, mean2d, depth, conic, _ = fully_fused_projection(means, None, quats, scales, view, K, *size, **options)
        color = spherical_harmonics(spec.sh_degree, (means - origin)[None], sh[None], (radii > 0).all(-1))
        return radii, mean2d, depth, conic, torch.clamp_min(color + 0.5, 0.0)

    def make_bins(radii: Any, mean2d: Any, depth: Any) -> tuple:
        _, keys, ids = isect_tiles(mean2d, radii, depth, TILE, *grid, n_images=1)
        return isect_offset_encode(keys, 1, *grid).reshape(1, grid[1], grid[0]), ids

    def rasterize(mean2d: Any, conic: Any, color: Any, starts: Any, ids: Any) -> Any:
        return rasterize_to_pixels(mean2d, conic, color, opacities[None], *size, TILE, starts, ids)[0]

    def gradient(call: Callable[[], Any], inputs: list) -> Callable[[], Any]:
        def run() -> Any:
            return torch.autograd.grad(sum(x.sum() for x in call()), inputs)

        return run

    with torch.no_grad():
        radii, mean2d, depth, conic, color = project()
        starts, ids = make_bins(radii, mean2d, depth)
        times = {
            "project": median_ms(project, _synchronize),
            "bin": median_ms(lambda: make_bins(radii, mean2d, depth), _synchronize),
            "rasterize": median_ms(lambda: rasterize(mean2d, conic, color, starts, ids), _synchronize),
        }
    splats = [x.detach().requires_grad_() for x in (mean2d, conic, color)]
    parameters = [tensors[name].requires_grad_() for name in ("means", "quats", "scales", "sh")]
    calls = {
        "rasterize with gradients": gradient(lambda: [rasterize(*splats, starts, ids)], splats),
        "project with gradients": gradient(lambda: project()[1:], parameters),
    }
    return times | {name: median_ms(call, _synchronize) for name, call in calls.items()}
