"""Measure renders; all functions take arrays (and boxes and lanes of a log). Names are imported at first use.

image            PSNR, SSIM (windows "gaussian11", "uniform7")
lpips            LPIPS, AlexNet or VGG16, differentiable; a number or a map
inception, fid   features; FID and KID of sets, in bounded memory
detectors, nta_iou      vehicles: NTA-IoU as published, and strict
lane_raster, ntl_iou    lanes: NTL-IoU as published, and strict
regions          under-constrained and high-precision regions (UCR, HPR) of an EIG map
lidar_depth      rendered depth against LiDAR
temporal         warping error between frames
calibration      ranking and calibration of uncertainty maps
confidence       confidence intervals over frames and seeds

`docs/benchmark_protocol.md` lists all choices and their effect.
"""

import importlib
from typing import Any

_MODULES = {
    "calibration": ("ause", "miscalibration", "reliability", "sparsification", "spearman"),
    "confidence": ("Interval", "bootstrap_statistic", "mean_interval", "paired_interval", "seed_interval"),
    "detectors": ("Detections", "Detector", "box_iou", "load_detector"),
    "fid": ("FeatureMoments", "FidEstimate", "KidEstimate", "Reservoir", "fid_of_features"),
    "image": ("masked_mean", "mse", "psnr", "ssim"),
    "inception": ("InceptionFeatures",),
    "lane_raster": ("LaneProtocol", "rasterize_lanes"),
    "lidar_depth": ("DepthScore", "project_sweep"),
    "lpips": ("Lpips",),
    "nta_iou": ("NtaProtocol", "NtaScore"),
    "ntl_iou": ("NtlScore", "load_twinlitenet"),
    "regions": ("RegionScore", "masked_pair", "score_region"),
    "temporal": ("Pinhole", "WarpError", "warp_error"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]  # names are resolved by __getattr__


def __getattr__(name: str) -> Any:
    """Import a public name at first use."""
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; see `ff_jax.metrics.__all__`.")


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
