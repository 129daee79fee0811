"""Measure time and host memory of the extrapolation benchmark as the number of frames grows.

python -m experiments.benchmarks.metrics --workdir=/tmp/metric_bench --frames=400

A street of --frames time steps is scored at three shifts with every network. The content of the frames does not matter
for time and memory, so the images, depths and sweeps of 8 of them (--distinct) are used again and again. The images are
read from PNG files.
"""

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from absl import flags
from jaxtyping import Float

from experiments.cli import command_line, metric_networks
from experiments.studies.measures.degradations import true_depth
from ff_jax.data.lazy_arrays import ImageFile, Source, read_image
from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import SceneData
from ff_jax.data.synthetic import StreetConfig, make_street
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.evaluation.benchmark import score_log
from ff_jax.evaluation.renderers import RenderedTarget
from ff_jax.evaluation.shifted_views import Target, targets
from ff_jax.evaluation.summary import summarize
from ff_jax.export.image_bytes import save_png
from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.runtime.progress import progress
from ff_jax.runtime.run_log import peak_memory

SHIFTS = (0.0, 3.0, 6.0)
FIRST = 25  # number of views before the clock starts, so that everything is compiled

_WORKDIR = command_line.workdir_flag("Folder of the images and the result.")
_FRAMES = flags.DEFINE_integer(
    "frames", 400, "Frames per shift.", lower_bound=FIRST // len(SHIFTS) + 1, upper_bound=100_000
)
_DISTINCT = flags.DEFINE_integer(
    "distinct", 8, "Frames whose content is used again and again.", lower_bound=1, upper_bound=1_000_000
)
_WIDTH = flags.DEFINE_integer("width", 960, "Image width, pixels.", lower_bound=1, upper_bound=16_384)
_HEIGHT = flags.DEFINE_integer("height", 640, "Image height, pixels.", lower_bound=1, upper_bound=16_384)


def main(_: list[str]) -> None:
    """Score, and print how time and memory grow."""
    workdir = Path(_WORKDIR.value)
    networks, network_files = metric_networks.load()
    log, depths, files = _make_log(workdir)
    views = targets(log, SHIFTS, 10**9)
    eig = np.random.default_rng(0).exponential(1.0, (_HEIGHT.value, _WIDTH.value))
    marks = []

    def render(target: Target) -> RenderedTarget:
        index = target.frame.time_index % _DISTINCT.value
        return RenderedTarget(read_image(files[index]), depths[index], eig)

    table = score_log(log, _with_marks(views, marks), {"renders": render}, networks)
    for shift in SHIFTS:
        summarize(table, "renders", shift)
    marks.append(_mark(len(views)))
    first, last = marks[0], marks[-1]
    print(f"{'views':>6} {'seconds':>8} {'peak host memory, MiB':>22}")
    for mark in marks:
        print(f"{mark['views']:>6} {mark['time'] - first['time']:>8.0f} {mark['bytes'] / 2**20:>22.0f}")
    rate = (last["time"] - first["time"]) / (last["views"] - first["views"])
    print(f"{rate:.2f} s per view of {_WIDTH.value} x {_HEIGHT.value}; networks: {network_files}")
    with atomic_write(workdir / "metric_bench.json") as temporary:
        temporary.write_text(json.dumps({"marks": marks, "seconds_per_view": rate}, indent=2))


def _with_marks(views: list[Target], marks: list[dict[str, float]]) -> Iterator[Target]:
    """Yield the views; note time and memory when `FIRST` times a power of two have been scored."""
    ends = set(itertools.takewhile(lambda count: count < len(views), (FIRST * 2**k for k in range(20))))
    for number, target in enumerate(progress(views, "scoring")):
        if number in ends:
            marks.append(_mark(number))
        yield target


def _mark(num_views: int) -> dict[str, float]:
    return {"views": num_views, "time": time.time(), "bytes": peak_memory()["peak_host_bytes"]}


def _make_log(workdir: Path) -> tuple[SceneData, list[Float[np.ndarray, "H W"]], list[Path]]:
    """Make a long log whose frames share a few images and sweeps; return it with the depths and image files."""
    config = StreetConfig(num_frames=_FRAMES.value, moving=False, speed=0.5)
    log = street_log(0, config, _WIDTH.value, _HEIGHT.value, test_shifts=SHIFTS[1:])
    street, first = make_street(0, config), log.frames[: _DISTINCT.value]
    files, depths, sweeps = [], [], []
    for index, target in enumerate(progress(targets(log, (0.0,), 10**9)[: _DISTINCT.value], "images")):
        files.append(workdir / f"{index}.png")
        save_png(files[-1], load_image(first[index]))
        depths.append(true_depth(street, target))
        points = log.sweeps[index].points.load()
        sweeps.append(Source(f"sweep {index}", lambda points=points: points))
    images = [ImageFile(path) for path in files]
    frames = tuple(replace(f, image=images[f.time_index % _DISTINCT.value], masks={}) for f in log.frames)
    shared = tuple(replace(s, points=sweeps[s.time_index % _DISTINCT.value]) for s in log.sweeps)
    return replace(log, frames=frames, sweeps=shared), depths, files


if __name__ == "__main__":
    command_line.run(main)
