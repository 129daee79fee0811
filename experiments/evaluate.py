"""The extrapolation benchmark on finished runs, or on images that any other program rendered.

python -m experiments.evaluate --run=runs/demo --out=runs/demo/benchmark --shifts=0,1,2,3
python -m experiments.evaluate --run=runs/seeds/seed0,runs/seeds/seed1 --out=runs/seeds/benchmark
python -m experiments.evaluate --source=LOG --images=theirs=FOLDER --shifts=3 --out=/tmp/theirs
python -m experiments.evaluate --source=LOG --images=real=recorded --out=/tmp/ceiling    # the true images themselves

Metrics, networks and the layout of FOLDER: docs/benchmark_protocol.md.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags

from experiments.cli import command_line, metric_networks
from ff_jax.data.open import open_log
from ff_jax.data.scene_data import SceneData
from ff_jax.evaluation import report
from ff_jax.evaluation.benchmark import Board, Networks, Protocols, score_log
from ff_jax.evaluation.renderers import Renderer, first_width, folder_renderer, scene_renderer, true_renderer
from ff_jax.evaluation.shifted_views import Target, spread, targets
from ff_jax.export.tables import as_text
from ff_jax.pipeline.config import DataConfig
from ff_jax.pipeline.fuse import finished, read_config
from ff_jax.pipeline.results import show
from ff_jax.runtime.run_log import progress

_RUN = flags.DEFINE_list("run", [], "Folders of finished runs; several are averaged with intervals over them.")
_IMAGES = flags.DEFINE_multi_string("images", [], "NAME=FOLDER of rendered images, or NAME=recorded.")
_SOURCE = flags.DEFINE_string("source", None, "Log that --images belong to, if there is no --run.")
_WIDTH = flags.DEFINE_integer("width", 0, "Scale the log of --source to this width; 0: to that of the images.")
_OUT = flags.DEFINE_string("out", None, "Folder for the results.", required=True)
_SHIFTS = flags.DEFINE_list("shifts", None, "Metres, left positive; default: those of the run and of test frames.")
_FRAMES = flags.DEFINE_integer("frames", 0, "At most this many views per shift, evenly spread; 0: all.")
_THRESHOLD = flags.DEFINE_float("threshold", 1.085, "EIG in nats from which a pixel is under-constrained (UCR).")
_CLASSES = flags.DEFINE_list("classes", None, "COCO classes that are vehicles; default: those of each protocol.")

RECORDED = Path("recorded")  # stands for the true images


class Case(NamedTuple):
    """One log and what is scored on it."""

    log: SceneData
    chosen: Sequence[Target]
    renderers: Mapping[str, Renderer]


def main(_: list[str]) -> None:
    """Score, and write and print the tables."""
    if not _RUN.value and not (_SOURCE.value and _IMAGES.value):
        raise ValueError("nothing to score: give --run=FOLDER, or --source=LOG with --images=NAME=FOLDER.")
    nets, said = metric_networks.load()
    protocols = _protocols()
    boards, counts, panels, drawings = {}, {}, [], []
    for number, case in enumerate(_cases()):
        boards[number] = score_log(
            case.log, progress(case.chosen, f"scoring {case.log.name}"), case.renderers, nets, protocols
        )
        for target in case.chosen:
            counts[target.shift] = counts.get(target.shift, 0) + 1
        if not number:
            panels, drawings = _pictures(case, nets, protocols)
            name, source = case.log.name, case.log.source
    if len(boards) > 1:
        name, source = f"{len(boards)} logs", ", ".join(_RUN.value)
    results = report.results_of(boards)
    facts = {
        "networks": said,
        "threshold": protocols.threshold,
        "classes": _CLASSES.value,
        "runs": ", ".join(_RUN.value),
    }
    extra = {"views": [_views(board) for board in boards.values()]}
    if len(boards) > 1:
        extra["each"] = [report.listed(report.results_of({0: board})) for board in boards.values()]
    several = len(boards) > 1 and len({version for version, _ in results}) > 1
    more = [report.difference_table(boards)] if several else []
    tables = report.write(Path(_OUT.value), name, source, results, counts, facts, panels, drawings, extra, more)
    print("\n\n".join(map(as_text, tables)))
    print(f"page: {Path(_OUT.value) / 'index.html'}; also metrics.json, tables.md and tables.tex there")


def _protocols() -> Protocols:
    """Return the protocols, with the classes that were asked for."""
    usual = Protocols(threshold=_THRESHOLD.value)
    if _CLASSES.value is None:
        return usual
    classes = command_line.numbers(_CLASSES, int)
    vehicles = {name: dataclasses.replace(one, classes=classes) for name, one in usual.vehicles.items()}
    return dataclasses.replace(usual, vehicles=vehicles)


def _cases() -> Iterator[Case]:
    if not _RUN.value:
        yield _folder_case()
    for run in _RUN.value:
        yield _run_case(Path(run))


def _run_case(workdir: Path) -> Case:
    """Return the case of a finished run, with the images of other programs beside it."""
    config = read_config(workdir)
    shifts = config.evaluate.shifts if _SHIFTS.value is None else command_line.numbers(_SHIFTS)
    log = open_log(command_line.with_log_path(config).data, shifts)
    every = _asked(targets(log, shifts, count=10**9))
    chosen = _chosen(every)
    feed, versions = finished(config, log, workdir)
    views = [target.view for target in chosen]
    renderers = {name: scene_renderer(show(version, feed, views, config)) for name, version in versions.items()}
    return Case(log, chosen, renderers | _other_images(every))


def _folder_case() -> Case:
    """Return the case of images without a run."""
    rendered = [folder for _, folder in _folders() if folder != RECORDED]
    width = _WIDTH.value or (first_width(rendered[0]) if rendered else 0)
    shifts = () if _SHIFTS.value is None else command_line.numbers(_SHIFTS)
    log = open_log(DataConfig(source=command_line.log_path(_SOURCE.value), width=width), shifts)
    every = _asked(targets(log, shifts, count=10**9))
    return Case(log, _chosen(every), _other_images(every))


def _asked(every: list[Target]) -> list[Target]:
    """Keep the views at the shifts that --shifts names; without it all, those of a second camera among them."""
    if _SHIFTS.value is None:
        return every
    shifts = command_line.numbers(_SHIFTS)
    return [target for target in every if any(abs(target.shift - shift) < 0.02 for shift in shifts)]


def _chosen(every: list[Target]) -> list[Target]:
    """Return at most --frames views per shift."""
    shifts = sorted({target.shift for target in every})
    groups = ([target for target in every if target.shift == shift] for shift in shifts)
    return [target for group in groups for target in spread(group, _FRAMES.value or len(group))]


def _folders() -> list[tuple[str, Path]]:
    pairs = [entry.partition("=") for entry in _IMAGES.value]
    for name, sign, folder in pairs:
        if not (name and sign and folder):
            raise ValueError(f"--images={name}{sign}{folder} is wrong: give NAME=FOLDER.")
    return [(name, Path(folder)) for name, _, folder in pairs]


def _other_images(every: list[Target]) -> dict[str, Renderer]:
    make = lambda folder: true_renderer if folder == RECORDED else folder_renderer(folder, every)
    return {name: make(folder) for name, folder in _folders()}


def _pictures(case: Case, nets: Networks, protocols: Protocols) -> tuple[list, list]:
    """Draw the middle view of every shift and camera."""
    panels, drawings = [], []
    for shift, camera in sorted({(target.shift, target.frame.camera) for target in case.chosen}):
        group = [t for t in case.chosen if (t.shift, t.frame.camera) == (shift, camera)]
        target = group[len(group) // 2]
        seen = {name: render(target) for name, render in case.renderers.items()}
        panels.append(report.panel(target, list(seen.values())))
        for name, rendering in seen.items():
            drawing = report.draw(case.log, target, rendering, nets, protocols, name)
            if drawing is not None:
                drawings.append(drawing)
    return panels, drawings


def _views(board: Board) -> list[dict]:
    return [
        {"version": version, "shift": shift} | row
        for (version, shift), cell in board.cells.items()
        for row in cell.frames
    ]


if __name__ == "__main__":
    command_line.run(main)
