"""FaithFusion in JAX: reconstruct a driving log, map its EIG, repair views off the lane, and fuse the repairs.

    import ff_jax as ff

All public names are imported at first use, so `import ff_jax` is fast and imports neither diffusers, matplotlib nor
viser. The functions are pure; scenes, cameras and posteriors are pytrees. `docs/method.md` has the maths.
"""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

_kernels = importlib.util.find_spec("kernels")
if _kernels and not any((Path(p) / "bin_tiles").is_dir() for p in _kernels.submodule_search_locations or ()):
    raise ImportError(f"{_kernels.origin} is another package called `kernels`: run `pip uninstall kernels`.")

_MODULES = {
    "ff_jax.data": (
        "Box",
        "Frame",
        "Lane",
        "LidarSweep",
        "SceneData",
        "Source",
        "open_log",
        "validate",
        "write_folder",
    ),
    "ff_jax.data.config": ("DataConfig",),
    "ff_jax.data.recording": ("Recording",),
    "ff_jax.render.camera": ("Camera", "make_camera"),
    "ff_jax.render.gaussians": ("Gaussians", "WorldGaussians"),
    "ff_jax.render.renderer": ("RenderInput", "RenderSettings"),
    "ff_jax.scene": ("Scene", "SceneModel", "View", "render_scene"),
    "ff_jax.train.batches": ("TrainBatches", "shifted_view"),
    "ff_jax.eig": (
        "EigConfig",
        "Posterior",
        "Precision",
        "Priors",
        "accumulate",
        "eig_map",
        "eig_mask",
        "eig_weight",
        "posterior",
        "split_regions",
    ),
    "ff_jax.eig.scene_posterior": ("EigRender", "ScenePosterior", "fit_posterior", "render_with_eig"),
    "ff_jax.eig.ray_jacobians": ("ray_eig", "ray_jacobians"),
    "ff_jax.eig.stochastic": ("fisher_diagonal", "trace_map"),
    "ff_jax.fixers": ("Fixer", "fix", "fixer_names", "make_fixer"),
    "ff_jax.pipeline.config": ("FuseConfig", "demo_config"),
    "ff_jax.pipeline.fuse": ("fuse", "load_run", "reconstruct"),
    "ff_jax.pipeline.run": ("Run",),
    "ff_jax.pipeline.evaluate": ("evaluate",),
    "ff_jax.pipeline.scene_export": ("save_scene",),
    "ff_jax.metrics.image": ("psnr", "ssim"),
    "ff_jax.metrics.lpips": ("Lpips",),
    "ff_jax.export.ply": ("read_ply",),
    "ff_jax.export.video": ("write_mp4",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
_PACKAGES = ("data", "eig", "evaluation", "export", "fixers", "metrics", "pipeline", "render", "scene", "train")

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]  # names are resolved by __getattr__


def __getattr__(name: str) -> Any:
    """Import a public name or a package at first use."""
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _PACKAGES:
        return importlib.import_module(f"ff_jax.{name}")
    raise AttributeError(f"module 'ff_jax' has no attribute {name!r}; see `ff_jax.__all__`.")


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, *_PACKAGES]
