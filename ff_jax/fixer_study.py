"""What image fixers change for the better and for the worse: by shift, and by region of the EIG map."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from ff_jax.export.figures import contact_sheet, eig_scale
from ff_jax.export.pixels import heat
from ff_jax.generators.pair_files import Pairs, as_colors, triples
from ff_jax.generators.protocol import Fixer, fix
from ff_jax.metrics.lpips import Lpips
from ff_jax.metrics.partition import regions, score_region

RENDER, REPAIR = "render", "difix"
REGIONS = ("all", "ucr", "hpr")
_ALWAYS = 1e-9  # nats: with so small a kappa every pixel of EIG above 0 is repaired in full


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


def score(
    fixers: Mapping[str, Fixer], views: Pairs, threshold: float, lpips: Lpips | None
) -> tuple[list[dict[str, Any]], list[tuple]]:
    """Return the scores of renders and repairs, and of the first view at every shift what `panel` shows.

    Args:
        fixers: by name.
        views: of one street.
        threshold: EIG (nats) that parts under-constrained from well-determined pixels.
        lpips: None leaves it out.

    Returns:
        One row per fixer, region and view: "fixer", "region", "shift", "psnr", "ssim", "lpips", "share" of the
            pixels, and "change", the mean absolute difference from the render.
    """
    shown = [int(np.flatnonzero(views.shift == shift)[0]) for shift in np.unique(views.shift)]
    seen = {kind: as_colors(triples(views, kind)) for kind in ("aligned", "nearest")}
    base = seen["aligned"]
    images = {RENDER: np.asarray(base.renders)}
    for name, fixer in fixers.items():
        inputs = seen["aligned" if fixer.aligned else "nearest"]
        images[name] = np.asarray(fix(fixer, jax.random.key(0), inputs.renders, inputs.eigs, inputs.references))
    truth, eigs, rows = np.asarray(base.targets), np.asarray(base.eigs), []
    for name, repaired in images.items():
        for index, shift in enumerate(views.shift):
            found = _by_region(repaired[index], images[RENDER][index], truth[index], eigs[index], threshold, lpips)
            rows += [row | {"fixer": name, "shift": float(shift)} for row in found]
    first = next(iter(fixers))
    return rows, [(f"{views.shift[i]:g} m", images[RENDER][i], eigs[i], images[first][i], truth[i]) for i in shown]


def summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean over views of every shift, fixer and region; what is not a number is left out."""
    key = lambda row: (row["shift"], row["fixer"], row["region"])
    groups: dict[tuple, list] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    numbers = ("psnr", "ssim", "lpips", "share", "change")
    return [
        dict(zip(("shift", "fixer", "region"), at, strict=True)) | {name: _mean(group, name) for name in numbers}
        for at, group in sorted(groups.items(), key=lambda item: item[0][0])
    ]


def markdown(means: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of `summary`: a line per shift and fixer; change is in 1/255."""
    lines = ["| shift | fixer | PSNR, all | UCR | HPR | SSIM | LPIPS, all | UCR | HPR | change, UCR | HPR |"]
    lines.append("|---" * 11 + "|")
    cell = lambda value, digits, scale=1.0: "-" if value is None else f"{scale * value:.{digits}f}"
    for shift, fixer in dict.fromkeys((row["shift"], row["fixer"]) for row in means):
        by = {row["region"]: row for row in means if (row["shift"], row["fixer"]) == (shift, fixer)}
        cells = [cell(by[region]["psnr"], 2) for region in REGIONS] + [cell(by["all"]["ssim"], 3)]
        cells += [cell(by[region]["lpips"], 3) for region in REGIONS]
        cells += [cell(by[region]["change"], 2, 255.0) for region in REGIONS[1:]]
        lines.append(f"| {shift:g} m | {fixer} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def panel(views: Sequence[tuple]) -> UInt8[np.ndarray, "H W 3"]:
    """Return render, EIG, repair and truth of some views (second result of `score`) as one picture."""
    brightest = eig_scale([eig for _, _, eig, _, _ in views])
    table = [[render, heat(eig, brightest), fixed, truth] for _, render, eig, fixed, truth in views]
    columns = ["render", f"EIG, 0 to {brightest:.2g} nats", "repaired", "truth"]
    return contact_sheet(table, columns, [name for name, *_ in views], width=2 * table[0][0].shape[1])


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
