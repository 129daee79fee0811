"""Depth, error and EIG maps of held-out views, for logs whose images may not be published."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, UInt8

from ff_jax.data.loader import load_image
from ff_jax.evaluation.shifted_views import RenderFn, Target, score_masks
from ff_jax.export.colormaps import heatmap
from ff_jax.export.figures import contact_sheet, eig_scale
from ff_jax.export.records import shift_name

NEAR, FAR = 2.0, 80.0  # meters: ends of the depth scale, which is logarithmic because depth errors are relative
MAX_ERROR = 0.25  # mean absolute error over the channels at the bright end of the scale


class ErrorMaps(NamedTuple):
    """Maps of one view with a true image."""

    name: str
    depth: Float[np.ndarray, "H W"]  # meters; very large or nan where there is no surface
    error: Float[np.ndarray, "H W"]  # mean absolute error over the channels
    eig: Float[np.ndarray, "H W"]  # nats
    mask: Bool[np.ndarray, "H W"]  # other pixels are black


def held_out_maps(render: RenderFn, views: Sequence[Target], *, use_moving: bool, unit: str = "m") -> list[ErrorMaps]:
    """Make the maps of the middle view with a true image, for every shift and camera.

    Args:
        render: renders a view.
        views: targets, in the order of `shifted_views.targets`.
        use_moving: whether moving objects are scored.
        unit: of shifts.
    """
    groups: dict[tuple[float, str], list[Target]] = {}
    for target in (target for target in views if target.has_truth):
        groups.setdefault((target.shift, target.frame.camera), []).append(target)
    maps = []
    for (shift, camera), group in groups.items():
        frame, (rgb, eig, depth) = group[len(group) // 2].frame, render(group[len(group) // 2].view)
        error, (mask, _) = np.abs(rgb - load_image(frame)).mean(-1), score_masks(frame, use_moving=use_moving)
        maps.append(ErrorMaps(f"{camera}, {shift_name(shift, unit)}", depth, error, eig, mask))
    return maps


def depth_colors(depth: Float[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """Color a depth map (meters): near is red, far is blue, beyond ten times `FAR` is black."""
    valid = np.isfinite(depth) & (depth > 0) & (depth < 10 * FAR)
    place = np.log(np.where(valid, depth, 1.0) / NEAR) / np.log(FAR / NEAR)
    colors = matplotlib.colormaps["turbo_r"](np.clip(place, 0, 1), bytes=True)[..., :3]
    return np.where(valid[..., None], colors, 0).astype(np.uint8)


def map_sheet(views: Sequence[ErrorMaps]) -> UInt8[np.ndarray, "H W 3"]:
    """Lay out a row per view: depth, error and EIG, each on one scale for all views."""
    largest = eig_scale([np.where(view.mask, view.eig, np.nan) for view in views])
    rows = [
        [
            np.where(view.mask[..., None], picture, 0).astype(np.uint8)
            for picture in (depth_colors(view.depth), heatmap(view.error, MAX_ERROR), heatmap(view.eig, largest))
        ]
        for view in views
    ]
    columns = (f"depth, {NEAR:g} to {FAR:g} m", f"error, 0 to {MAX_ERROR:g}", f"EIG, 0 to {largest:.2g} nats")
    return contact_sheet(rows, columns, [view.name for view in views])
