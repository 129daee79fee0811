"""What fixers change for the better and for the worse: by shift, by region of the EIG map, and from frame to frame."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from ff_jax.export.figures import contact_sheet, eig_scale
from ff_jax.export.image_bytes import heat
from ff_jax.fixers.fixer import Fixer, anchored, fix
from ff_jax.fixers.pair_files import Pairs, as_colors, triples
from ff_jax.fixers.self_fit.crops import Triples
from ff_jax.metrics.lpips import Lpips
from ff_jax.metrics.regions import regions, score_region
from ff_jax.metrics.temporal import Pinhole, excess, warp_error

RENDER, REPAIR, VIDEO = "render", "difix", "eigent"
REGIONS = ("all", "ucr", "hpr")
_ALWAYS = 1e-9  # nats: with so small a kappa every pixel of EIG above 0 is repaired in full
_FAR = 1e3  # metres: beyond it there is sky


def variants(fixer: Fixer) -> dict[str, Fixer]:
    """Return a trained `difix` and what is left of it without one of the ways in which EIG enters.

    The ways are taken away after training: networks trained without them may do better than these.
    """
    guidance = fixer.params["network"]["guidance"]
    zero = lambda tree: jax.tree.map(jnp.zeros_like, tree)
    dumb = {"conv_in": zero(guidance["conv_in"])}
    dumb |= {"stem": guidance["stem"] | {"eig": zero(guidance["stem"]["eig"])}} if "stem" in guidance else {}
    still = {"strength": zero(guidance["strength"])}

    def hidden(parts: dict) -> Fixer:
        network = fixer.params["network"] | {"guidance": guidance | parts}
        return fixer.replace(params=fixer.params | {"network": network})

    return {
        REPAIR: fixer,
        "no blending": fixer.replace(config=dataclasses.replace(fixer.config, kappa=_ALWAYS)),
        "no EIG channels": hidden(dumb),
        "no modulation": hidden(still),
        "neither": hidden(dumb | still),
    }


def video_variants(fixer: Fixer) -> dict[str, Fixer]:
    """Return a trained `eigent` and what is left of it without one of its parts, taken away after training."""
    without = lambda **changes: fixer.replace(config=dataclasses.replace(fixer.config, **changes))
    return {
        VIDEO: fixer,
        "eigent, no EIG input": without(told=False),
        "eigent, no mask": without(saturated=1.0),
        "eigent, no reference": without(referenced=False),
        "eigent, nothing generated": without(steps=0),
        "eigent, no blending": without(kappa=_ALWAYS),
    }


def score(
    fixers: Mapping[str, Fixer], views: Pairs, threshold: float, lpips: Lpips | None, length: int = 0, lead: int = 0
) -> tuple[list[dict[str, Any]], list[tuple]]:
    """Return the scores of renders and repairs, and of the first view at every shift what `panel` shows.

    Args:
        fixers: by name.
        views: of one street.
        threshold: EIG (nats) that parts under-constrained from well-determined pixels.
        lpips: None leaves it out.
        length: frames of a clip, if the views form clips (`street_pairs.study_clips`); 0 for single views.
        lead: of them, how many only lead to the others and are not scored. The first one is the recorded image, which
            video fixers are given.

    Returns:
        One row per fixer, region and view: "fixer", "region", "shift", "psnr", "ssim", "lpips", "share" of the
            pixels, "change", the mean absolute difference from the render, and "warp", by how much the frame changes
            more to the next one than the truth does (`metrics.temporal`; not a number for the last one).
    """
    seen = {kind: as_colors(triples(views, kind)) for kind in ("aligned", "nearest")}
    base, clips = seen["aligned"], np.arange(len(views.shift)).reshape(-1, length or len(views.shift))
    images = {RENDER: np.asarray(base.renders)}
    for name, fixer in fixers.items():
        inputs = seen["aligned" if fixer.aligned else "nearest"]
        images[name] = np.concatenate([_repaired(fixer, inputs, clip) for clip in clips])
    truth, eigs, rows = np.asarray(base.targets), np.asarray(base.eigs), []
    counted = [int(index) for clip in clips for index in clip[lead:]]
    last = {int(clip[-1]) for clip in clips} if length else set(counted)
    for name, repaired in images.items():
        for index in counted:
            found = _by_region(repaired[index], images[RENDER][index], truth[index], eigs[index], threshold, lpips)
            warp = np.nan if index in last else _warp(repaired, truth, views, index)
            about = {"fixer": name, "shift": float(views.shift[index])}
            rows += [row | about | {"warp": warp if row["region"] == "all" else np.nan} for row in found]
    shifts = views.shift[counted]
    shown = [counted[int(np.flatnonzero(shifts == shift)[-1 if length else 0])] for shift in np.unique(shifts)]
    first = next(iter(fixers))
    return rows, [(f"{views.shift[i]:g} m", images[RENDER][i], eigs[i], images[first][i], truth[i]) for i in shown]


def summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean over views of every shift, fixer and region; what is not a number is left out."""
    key = lambda row: (row["shift"], row["fixer"], row["region"])
    groups: dict[tuple, list] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    numbers = ("psnr", "ssim", "lpips", "share", "change", "warp")
    return [
        dict(zip(("shift", "fixer", "region"), at, strict=True)) | {name: _mean(group, name) for name in numbers}
        for at, group in sorted(groups.items(), key=lambda item: item[0][0])
    ]


def markdown(means: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of `summary`: a line per shift and fixer; change and warp are in 1/255."""
    lines = ["| shift | fixer | PSNR, all | UCR | HPR | SSIM | LPIPS, all | UCR | HPR | change, UCR | HPR | warp |"]
    lines.append("|---" * 12 + "|")
    cell = lambda value, digits, scale=1.0: "-" if value is None else f"{scale * value:.{digits}f}"
    for shift, fixer in dict.fromkeys((row["shift"], row["fixer"]) for row in means):
        by = {row["region"]: row for row in means if (row["shift"], row["fixer"]) == (shift, fixer)}
        cells = [cell(by[region]["psnr"], 2) for region in REGIONS] + [cell(by["all"]["ssim"], 3)]
        cells += [cell(by[region]["lpips"], 3) for region in REGIONS]
        cells += [cell(by[region]["change"], 2, 255.0) for region in REGIONS[1:]] + [cell(by["all"]["warp"], 2, 255.0)]
        lines.append(f"| {shift:g} m | {fixer} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def panel(views: Sequence[tuple]) -> UInt8[np.ndarray, "H W 3"]:
    """Return render, EIG, repair and truth of some views (second result of `score`) as one picture."""
    brightest = eig_scale([eig for _, _, eig, _, _ in views])
    table = [[render, heat(eig, brightest), fixed, truth] for _, render, eig, fixed, truth in views]
    columns = ["render", f"EIG, 0 to {brightest:.2g} nats", "repaired", "truth"]
    return contact_sheet(table, columns, [name for name, *_ in views], width=2 * table[0][0].shape[1])


def _repaired(fixer: Fixer, seen: Triples, clip: Int[np.ndarray, "T"]) -> Float[np.ndarray, "T H W 3"]:
    """Return what a fixer makes of one clip."""
    inputs = tuple(array[clip] for array in (seen.renders, seen.eigs, seen.references))
    inputs = anchored(*inputs, seen.targets[clip[:1]]) if fixer.lead else inputs
    return np.asarray(fix(fixer, jax.random.key(0), *inputs))


def _warp(images: Float[np.ndarray, "N H W 3"], truth: Float[np.ndarray, "N H W 3"], views: Pairs, index: int) -> float:
    """Return by how much view `index` changes more to the next one than the truth does, over what the render sees."""
    depths = [np.asarray(views.depth[i], np.float64) for i in (index, index + 1)]
    depths = [np.where(depth < _FAR, depth, 0.0) for depth in depths]
    cameras = [Pinhole(views.K[i].astype(np.float64), views.world_from_camera[i]) for i in (index, index + 1)]
    error = lambda video: warp_error(video[index], video[index + 1], *depths, *cameras)
    return excess(error(images), error(truth))


def _by_region(
    repaired: Float[np.ndarray, "H W 3"],
    render: Float[np.ndarray, "H W 3"],
    truth: Float[np.ndarray, "H W 3"],
    eig: Float[np.ndarray, "H W"],
    threshold: float,
    lpips: Lpips | None,
) -> list[dict[str, Any]]:
    distance = None if lpips is None else np.asarray(lpips.distance_map(repaired, truth))
    change, rows = np.abs(repaired - render).mean(-1), []
    parts = regions(eig, threshold)
    for name, region in zip(REGIONS, (np.ones_like(parts.ucr), parts.ucr, parts.hpr), strict=True):
        scores = score_region(repaired, truth, region, distance)._asdict()
        rows.append({"region": name, **scores, "change": float(change[region].mean()) if region.any() else np.nan})
    return rows


def _mean(group: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [row[name] for row in group if np.isfinite(row[name])]
    return float(np.mean(values)) if values else None
