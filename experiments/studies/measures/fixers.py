"""Score the repairs of fixers: by shift, by region of the EIG map, and from frame to frame."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PyTree, UInt8

from ff_jax.eig import split_regions
from ff_jax.export.colormaps import heatmap
from ff_jax.export.figures import contact_sheet, eig_scale
from ff_jax.fixers.fixer import Fixer, fix, with_context_frames
from ff_jax.fixers.one_step import with_repaired
from ff_jax.fixers.pair_files import Pairs, triples
from ff_jax.fixers.triples import Triples, as_colors
from ff_jax.metrics.lpips import Lpips
from ff_jax.metrics.regions import score_region
from ff_jax.metrics.temporal import Pinhole, WarpError, excess_change, warp_error

RENDER, REPAIR, VIDEO, CHOICE = "render", "difix", "eigent", "reference_unet"
REGIONS = ("all", "ucr", "hpr")
_FULL_REPAIR = 1e-9  # nats: with this kappa, pixels with an EIG above 0 are replaced completely
_SKY = 1e3  # meters: larger depths are sky

Image = Float[np.ndarray, "H W 3"]


class Example(NamedTuple):
    """One view for `panel`."""

    name: str
    render: Image
    eig: Float[np.ndarray, "H W"]
    repair: Image
    truth: Image


def variants(fixer: Fixer) -> dict[str, Fixer]:
    """Make variants of a trained `difix`, each without one of the inputs of EIG.

    The inputs are removed after training: networks that were trained without them may be better than these.
    """
    guidance = fixer.params["network"]["guidance"]

    def zeros(tree: PyTree) -> PyTree:
        return jax.tree.map(jnp.zeros_like, tree)

    def with_guidance(parts: dict) -> Fixer:
        network = fixer.params["network"] | {"guidance": guidance | parts}
        return fixer.replace(params=fixer.params | {"network": network})

    no_channels = {"conv_in": zeros(guidance["conv_in"])}
    if "stem" in guidance:
        no_channels["stem"] = guidance["stem"] | {"eig": zeros(guidance["stem"]["eig"])}
    no_modulation = {"strength": zeros(guidance["strength"])}
    return {
        REPAIR: fixer,
        "no blending": fixer.replace(config=dataclasses.replace(fixer.config, kappa=_FULL_REPAIR)),
        "no EIG channels": with_guidance(no_channels),
        "no modulation": with_guidance(no_modulation),
        "neither": with_guidance(no_channels | no_modulation),
    }


def video_variants(fixer: Fixer) -> dict[str, Fixer]:
    """Make variants of a trained `eigent`, each without one of its parts, which is removed after training."""

    def with_config(**changes: Any) -> Fixer:
        return fixer.replace(config=dataclasses.replace(fixer.config, **changes))

    return {
        VIDEO: fixer,
        "eigent, no EIG input": with_config(conditioned_on_eig=False),
        "eigent, no mask": with_config(eig_saturation=1.0),
        "eigent, no reference": with_config(use_references=False),
        "eigent, no denoising": with_config(steps=0),
        "eigent, no blending": with_config(kappa=_FULL_REPAIR),
    }


def choice_variants(fixer: Fixer) -> dict[str, Fixer]:
    """Make variants of a trained `reference_unet`: without blending by EIG, and without EIG as an input."""

    def with_config(**changes: Any) -> Fixer:
        return dataclasses.replace(fixer, config=dataclasses.replace(fixer.config, **changes))

    return {
        CHOICE: fixer,
        f"{CHOICE}, no blending": with_config(kappa=_FULL_REPAIR),
        f"{CHOICE}, no EIG input": with_config(conditioned_on_eig=False),
    }


def score(
    fixers: Mapping[str, Fixer],
    views: Pairs,
    threshold: float,
    lpips: Lpips | None,
    length: int = 0,
    num_context_frames: int = 0,
) -> tuple[list[dict[str, Any]], list[Example]]:
    """Score renders and repairs; also return an example for each shift, repaired by the first fixer.

    Args:
        fixers: by name.
        views: of one street.
        threshold: EIG (nats) that separates under-constrained from well-determined pixels.
        lpips: None leaves it out.
        length: frames of a clip, if the views form clips (`street_plans.study_clips`); 0 for single views.
        num_context_frames: number of frames at the start of a clip that are not scored. The first of them is the
            recorded image, which video fixers get as input.

    Returns:
        One row per fixer, region and view: "fixer", "region", "shift", "psnr", "ssim", "lpips", "share" of the
            pixels, "change" (the mean absolute difference from the render), and "warp" (the change to the next frame
            beyond that of the ground truth, see `metrics.temporal`; nan for the last frame).
    """
    inputs = {kind: as_colors(triples(views, kind)) for kind in {kind_of_references(f) for f in fixers.values()}}
    base, clips = (
        as_colors(triples(views, "nearest")),
        np.arange(len(views.shift)).reshape(-1, length or len(views.shift)),
    )
    images = {RENDER: np.asarray(base.renders)}
    for name, fixer in fixers.items():
        stored = inputs[kind_of_references(fixer)]
        images[name] = np.concatenate([_repair_clip(fixer, stored, clip) for clip in clips])
    truth, eigs, rows = np.asarray(base.targets), np.asarray(base.eigs), []
    indices = [int(index) for clip in clips for index in clip[num_context_frames:]]
    last = {int(clip[-1]) for clip in clips} if length else set(indices)
    for name, repairs in images.items():
        for index in indices:
            scores = _score_regions(repairs[index], images[RENDER][index], truth[index], eigs[index], threshold, lpips)
            warp = np.nan if index in last else _excess_warp(repairs, truth, views, index)
            facts = {"fixer": name, "shift": float(views.shift[index])}
            rows += [row | facts | {"warp": warp if row["region"] == "all" else np.nan} for row in scores]
    shifts = views.shift[indices]
    examples = [indices[int(np.flatnonzero(shifts == shift)[-1 if length else 0])] for shift in np.unique(shifts)]
    repairs = images[next(iter(fixers))]
    return rows, [Example(f"{views.shift[i]:g} m", images[RENDER][i], eigs[i], repairs[i], truth[i]) for i in examples]


def kind_of_references(fixer: Fixer) -> str:
    """Name the references of a fixer, as `pair_files.triples` does."""
    if fixer.use_separate_references:
        return "separate"
    return "aligned" if fixer.use_aligned_references else "nearest"


def summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Average rows over views, for each shift, fixer and region; nan is left out."""
    keys, numbers = ("shift", "fixer", "region"), ("psnr", "ssim", "lpips", "share", "change", "warp")
    groups: dict[tuple, list] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return [
        dict(zip(keys, values, strict=True)) | {name: _mean(group, name) for name in numbers}
        for values, group in sorted(groups.items(), key=lambda item: item[0][0])
    ]


def markdown(means: Sequence[Mapping[str, Any]]) -> str:
    """Format the table of `summary` as Markdown: a line per shift and fixer; change and warp are in 1/255."""
    lines = ["| shift | fixer | PSNR, all | UCR | HPR | SSIM | LPIPS, all | UCR | HPR | change, UCR | HPR | warp |"]
    lines.append("|---" * 12 + "|")

    def cell(value: float | None, digits: int, scale: float = 1.0) -> str:
        return "-" if value is None else f"{scale * value:.{digits}f}"

    for shift, fixer in dict.fromkeys((row["shift"], row["fixer"]) for row in means):
        by = {row["region"]: row for row in means if (row["shift"], row["fixer"]) == (shift, fixer)}
        cells = [cell(by[region]["psnr"], 2) for region in REGIONS] + [cell(by["all"]["ssim"], 3)]
        cells += [cell(by[region]["lpips"], 3) for region in REGIONS]
        cells += [cell(by[region]["change"], 2, 255.0) for region in REGIONS[1:]] + [cell(by["all"]["warp"], 2, 255.0)]
        lines.append(f"| {shift:g} m | {fixer} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def panel(examples: Sequence[Example]) -> UInt8[np.ndarray, "H W 3"]:
    """Draw render, EIG, repair and ground truth of some examples."""
    largest = eig_scale([example.eig for example in examples])
    rows = [[view.render, heatmap(view.eig, largest), view.repair, view.truth] for view in examples]
    columns = ["render", f"EIG, 0 to {largest:.2g} nats", "repaired", "truth"]
    return contact_sheet(rows, columns, [example.name for example in examples], width=2 * rows[0][0].shape[1])


def _repair_clip(fixer: Fixer, stored: Triples, clip: Int[np.ndarray, "T"]) -> Float[np.ndarray, "T H W 3"]:
    """Repair the views of one clip."""
    inputs = tuple(array[clip] for array in (stored.renders, stored.eigs, stored.references))
    inputs = with_context_frames(*inputs, stored.targets[clip[:1]]) if fixer.num_context_frames else inputs
    return np.asarray(fix(fixer, jax.random.key(0), *inputs, with_repaired(fixer, {}, *inputs)))


def _excess_warp(
    images: Float[np.ndarray, "N H W 3"], truth: Float[np.ndarray, "N H W 3"], views: Pairs, index: int
) -> float:
    """Measure the change from view `index` to the next one beyond that of the ground truth, where surfaces are."""
    depths = [np.asarray(views.depth[i], np.float64) for i in (index, index + 1)]
    depths = [np.where(depth < _SKY, depth, 0.0) for depth in depths]
    cameras = [Pinhole(views.K[i].astype(np.float64), views.world_from_camera[i]) for i in (index, index + 1)]

    def error(video: Float[np.ndarray, "N H W 3"]) -> WarpError:
        return warp_error(video[index], video[index + 1], *depths, *cameras)

    return excess_change(error(images), error(truth))


def _score_regions(
    repair: Image,
    render: Image,
    truth: Image,
    eig: Float[np.ndarray, "H W"],
    threshold: float,
    lpips: Lpips | None,
) -> list[dict[str, Any]]:
    """Score one repair over the whole image and by region of the EIG map."""
    distance = None if lpips is None else np.asarray(lpips.distance_map(repair, truth))
    change, rows = np.abs(repair - render).mean(-1), []
    regions = split_regions(eig, threshold)
    for name, region in zip(REGIONS, (np.ones_like(regions.ucr), *regions), strict=True):
        scores = score_region(repair, truth, region, distance)._asdict()
        rows.append({"region": name, **scores, "change": float(change[region].mean()) if region.any() else np.nan})
    return rows


def _mean(group: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [row[name] for row in group if np.isfinite(row[name])]
    return float(np.mean(values)) if values else None
