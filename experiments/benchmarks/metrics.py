"""Time and host memory of the extrapolation benchmark, however many frames there are.

python -m experiments.benchmarks.metrics --workdir=/tmp/metric_bench --frames=400

A street of --frames time steps is scored at three shifts with every network. What the frames show does not matter for
time and memory, so the rendered images, depths and sweeps of 8 of them (--kept) are used over and over; the images are
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

from experiments.cli import command_line, metric_networks
from experiments.studies.measures.degradations import true_depth
from ff_jax.data.lazy_arrays import ImageFile, Source, read_image
from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import SceneData
from ff_jax.data.synthetic import WorldConfig, make_world
from ff_jax.data.synthetic.driving_log import world_scene
from ff_jax.evaluation.benchmark import score_log
from ff_jax.evaluation.renderers import Rendering
from ff_jax.evaluation.shifted_views import Target, targets
from ff_jax.evaluation.summary import summarize
from ff_jax.export.image_bytes import save_png
from ff_jax.runtime.atomic_files import replacing
from ff_jax.runtime.run_log import peak_memory, progress

SHIFTS = (0.0, 3.0, 6.0)
FIRST = 25  # views before the clock starts: everything is compiled by then

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the images and the result.", required=True)
_FRAMES = flags.DEFINE_integer("frames", 400, "Frames per shift.", lower_bound=FIRST // len(SHIFTS) + 1)
_WIDTH = flags.DEFINE_integer("width", 960, "Of the images, pixels.")
_KEPT = flags.DEFINE_integer("kept", 8, "Frames whose content is used over and over.", lower_bound=1)
_HEIGHT = flags.DEFINE_integer("height", 640, "Of the images, pixels.")


def main(_: list[str]) -> None:
    """Score, and print how time and memory grew."""
    workdir = Path(_WORKDIR.value)
    nets, said = metric_networks.load()
    log, depths, files = _material(workdir)
    chosen = targets(log, SHIFTS, 10**9)
    eig = np.random.default_rng(0).exponential(1.0, (_HEIGHT.value, _WIDTH.value))
    marks = []

    def render(target: Target) -> Rendering:
        which = target.frame.time_index % _KEPT.value
        return Rendering(read_image(files[which]), depths[which], eig)

    board = score_log(log, _marked(chosen, marks), {"renders": render}, nets)
    for shift in SHIFTS:
        summarize(board, "renders", shift)
    marks.append(_mark(len(chosen)))
    first, last = marks[0], marks[-1]
    print(f"{'views':>6} {'seconds':>8} {'peak host memory, MiB':>22}")
    for mark in marks:
        print(f"{mark['views']:>6} {mark['time'] - first['time']:>8.0f} {mark['bytes'] / 2**20:>22.0f}")
    rate = (last["time"] - first["time"]) / (last["views"] - first["views"])
    print(f"{rate:.2f} s per view of {_WIDTH.value} x {_HEIGHT.value}; networks: {said}")
    with replacing(workdir / "metric_bench.json") as temporary:
        temporary.write_text(json.dumps({"marks": marks, "seconds_per_view": rate}, indent=2))


def _marked(chosen: list[Target], marks: list[dict]) -> Iterator[Target]:
    """Yield the views; note time and memory at powers of two times `FIRST`."""
    ends = set(itertools.takewhile(lambda n: n < len(chosen), (FIRST * 2**k for k in range(20))))
    for number, target in enumerate(progress(chosen, "scoring")):
        if number in ends:
            marks.append(_mark(number))
        yield target


def _mark(views: int) -> dict[str, float]:
    return {"views": views, "time": time.time(), "bytes": peak_memory()["peak_host_bytes"]}


def _material(workdir: Path) -> tuple[SceneData, list[np.ndarray], list[Path]]:
    """Return a long log whose frames share a few images and sweeps, and the depths and image files."""
    config = WorldConfig(num_frames=_FRAMES.value, moving=False, speed=0.5)
    log = world_scene(0, config, _WIDTH.value, _HEIGHT.value, test_shifts=SHIFTS[1:])
    world, first = make_world(0, config), log.frames[: _KEPT.value]
    files, depths, sweeps = [], [], []
    for index, target in enumerate(progress(targets(log, (0.0,), 10**9)[: _KEPT.value], "images")):
        files.append(workdir / f"{index}.png")
        save_png(files[-1], load_image(first[index]))
        depths.append(true_depth(world, target))
        points = log.sweeps[index].points.load()
        sweeps.append(Source(f"sweep {index}", lambda points=points: points))
    images = [ImageFile(path) for path in files]
    frames = tuple(replace(f, image=images[f.time_index % _KEPT.value], masks={}) for f in log.frames)
    swept = tuple(replace(s, points=sweeps[s.time_index % _KEPT.value]) for s in log.sweeps)
    return replace(log, frames=frames, sweeps=swept), depths, files


if __name__ == "__main__":
    command_line.run(main)
