"""Charts of the calibration study: PSNR of admitted pixels, sparsification, reliability."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.studies.measures.calibration import ADMITTED, FRACTIONS
from ff_jax.runtime.atomic_files import atomic_write

COLORS = {
    "exact": "#1f6feb",
    "trace": "#8250df",
    "diagonal": "#54aeff",
    "calibrated": "#d63384",
    "deviation": "#f783ac",
    "color_only": "#1a7f5a",
    "released": "#c2571a",
    "opacity": "#8a8f98",
    "distance": "#bf8700",
    "residual": "#0b7285",
    "warp_ssim": "#6e4c1e",
    "prior_background": "#d1242f",
    "uniform_noise": "#cf7fb0",
}

# The map whose color the curve of a posterior has.
_RELIABILITY = {"block": "exact", "diag": "diagonal", "calibrated": "calibrated"}


def calibration_figure(result: Mapping[str, Any], path: Path, title: str = "") -> None:
    """Draw the three charts of one result of `calibration.summarize` and save them as PNG.

    Args:
        result: the figures.
        path: file to write.
        title: title of the image.
    """
    figure = Figure(figsize=(15, 5.4), dpi=90, layout="constrained")
    admitted, sparsification, reliability = figure.subplots(1, 3)
    for name, method in result["methods"].items():
        style = {"color": COLORS[name], "linewidth": 2.4 if name == "exact" else 1.3}
        admitted.plot(100 * ADMITTED, method["admitted_psnr"], label=name, **style)
        sparsification.plot(100 * FRACTIONS, method["sparsification"], label=f"{name} ({method['ause']:.3f})", **style)
    sparsification.plot(100 * FRACTIONS, result["oracle"], "k--", linewidth=1, label="best possible")
    for name, group in result["reliability"].items():
        label = f"{name} ({group['miscalibration']:.2f})"
        reliability.plot(group["predicted"], group["observed"], "o-", color=COLORS[_RELIABILITY[name]], label=label)
    ends = np.array([1e-2, 1.0])
    reliability.plot(ends, ends, "k--", linewidth=1, label="calibrated")
    reliability.set(xscale="log", yscale="log")
    _label_axes(admitted, "PSNR of admitted pixels, dB", "pixels admitted, lowest score first, %")
    _label_axes(sparsification, "mean error of the remaining pixels (AUSE)", "pixels removed, highest score first, %")
    _label_axes(reliability, "RMS error (miscalibration)", "predicted standard deviation")
    figure.suptitle(title)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")


def _label_axes(axes: Any, title: str, x_label: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(x_label, fontsize=9)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncol=3
    )  # clear of the lines
