"""What a render looks like where the images themselves may not be shown: depth, error and EIG of held-out views."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, UInt8

from ff_jax.data.loader import load_image
from ff_jax.evaluation.shifted_views import Look, Target, counted_pixels
from ff_jax.export.figures import contact_sheet, eig_scale
from ff_jax.export.image_bytes import heat
from ff_jax.export.records import shift_name

NEAR, FAR = 2.0, 80.0  # metres: ends of the depth scale, which is logarithmic as errors of depth are
WORST = 0.25  # mean absolute error of the channels that is drawn brightest


class Maps(NamedTuple):
    """One view beside its ground truth."""

    name: str
    depth: Float[np.ndarray, "H W"]  # metres; very large or nan where nothing is
    error: Float[np.ndarray, "H W"]  # mean absolute error over the channels
    eig: Float[np.ndarray, "H W"]  # nats
    counted: Bool[np.ndarray, "H W"]  # the others are left black


def held_out_maps(look: Look, chosen: Sequence[Target], *, moving: bool) -> list[Maps]:
    """Return the maps of the middle view with ground truth of every shift and camera.

    Args:
        look: shows a view.
        chosen: views, in the order of `evaluate.targets`.
        moving: whether what moves counts.
    """
    groups: dict[tuple[float, str], list[Target]] = {}
    for target in (target for target in chosen if target.has_truth):
        groups.setdefault((target.shift, target.frame.camera), []).append(target)
    found = []
    for (shift, camera), group in groups.items():
        frame, (rgb, gain, depth) = group[len(group) // 2].frame, look(group[len(group) // 2].view)
        error, (counted, _) = np.abs(rgb - load_image(frame)).mean(-1), counted_pixels(frame, moving=moving)
        found.append(Maps(f"{camera}, {shift_name(shift)}", depth, error, gain, counted))
    return found


def depth_colors(depth: Float[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """Return a depth map (metres) as colours: near is red, far is blue, beyond ten times `FAR` nothing."""
    known = np.isfinite(depth) & (depth > 0) & (depth < 10 * FAR)
    place = np.log(np.where(known, depth, 1.0) / NEAR) / np.log(FAR / NEAR)
    colors = matplotlib.colormaps["turbo_r"](np.clip(place, 0, 1), bytes=True)[..., :3]
    return np.where(known[..., None], colors, 0).astype(np.uint8)


def map_sheet(views: Sequence[Maps], *, width: int | None = None) -> UInt8[np.ndarray, "H W 3"]:
    """Lay out a row per view: depth, error and EIG, each on one scale for all views."""
    largest = eig_scale([np.where(view.counted, view.eig, np.nan) for view in views])
    rows = [
        [
            np.where(view.counted[..., None], picture, 0).astype(np.uint8)
            for picture in (depth_colors(view.depth), heat(view.error, WORST), heat(view.eig, largest))
        ]
        for view in views
    ]
    columns = (f"depth, {NEAR:g} to {FAR:g} m", f"error, 0 to {WORST:g}", f"EIG, 0 to {largest:.2g} nats")
    return contact_sheet(rows, columns, [view.name for view in views], width=width)
