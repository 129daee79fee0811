"""Run the extrapolation benchmark on finished runs, or on images that another program rendered.

python -m experiments.evaluate --run=runs/demo --out=runs/demo/benchmark --shifts=0,1,2,3
python -m experiments.evaluate --run=runs/seeds/seed0,runs/seeds/seed1 --out=runs/seeds/benchmark
python -m experiments.evaluate --run=omnire=runs/omnire,faithfusion=runs/demo --out=runs/side_by_side   # of one log
python -m experiments.evaluate --source=LOG --images=theirs=FOLDER --shifts=3 --out=/tmp/theirs
python -m experiments.evaluate --source=LOG --images=real=recorded --out=/tmp/ceiling    # the ground-truth images

Metrics, networks and the layout of FOLDER: docs/benchmark_protocol.md.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from experiments.cli import command_line, metric_networks
from ff_jax.data.config import DataConfig
from ff_jax.data.open import open_log
from ff_jax.data.scene_data import SceneData
from ff_jax.eig.config import BENCHMARK_TAU
from ff_jax.evaluation import report
from ff_jax.evaluation.benchmark import ScoreTable, score_log
from ff_jax.evaluation.ground_truth import GROWING_PROTOCOLS, Networks, Protocols
from ff_jax.evaluation.renderers import (
    Renderer,
    eig_renderer,
    first_width,
    folder_renderer,
    plain_renderer,
    scene_renderer,
    true_renderer,
)
from ff_jax.evaluation.report import BenchmarkReport
from ff_jax.evaluation.shifted_views import Target, evenly_spaced, growing_targets, targets
from ff_jax.export.figures import contact_sheet
from ff_jax.export.image_bytes import save_png
from ff_jax.export.records import Drawing, Panel, shift_name
from ff_jax.export.tables import as_text
from ff_jax.pipeline.fuse import load_versions, read_config
from ff_jax.pipeline.post_render import fixer_of, repairing_renderer
from ff_jax.pipeline.run import Run
from ff_jax.runtime.progress import progress

flags.adopt_module_key_flags(metric_networks)  # --help lists them
_RUN = flags.DEFINE_list(
    "run",
    [],
    "Folders of finished runs; several are averaged, with intervals over runs. NAME=FOLDER,.. are systems on one log, "
    "scored side by side in the regions of the first.",
)
_IMAGES = flags.DEFINE_multi_string("images", [], "NAME=FOLDER of rendered images, or NAME=recorded.")
_SOURCE = flags.DEFINE_string("source", None, "Log that --images belong to, if there is no --run.")
_WIDTH = flags.DEFINE_integer(
    "width",
    0,
    "Width, pixels, to which the log of --source is scaled; 0: that of the images.",
    lower_bound=0,
    upper_bound=16_384,
)
_OUT = flags.DEFINE_string("out", None, "Folder for the results.", required=True)
_SHIFTS = flags.DEFINE_list(
    "shifts", None, "Lateral shifts, meters, left positive; default: those of the run and of test frames."
)
_FRAMES = flags.DEFINE_integer(
    "frames", 0, "Largest number of views per shift, evenly spaced; 0: all.", lower_bound=0, upper_bound=100_000
)
_THRESHOLD = flags.DEFINE_float(
    "threshold", BENCHMARK_TAU, "Smallest EIG of an under-constrained pixel, nats.", lower_bound=0.0, upper_bound=1e06
)
_GROWING = flags.DEFINE_float(
    "growing",
    0.0,
    "Meters per frame by which a path to either side grows (DriveDreamer4D has 0.1), scored by vehicles and lanes; "
    "0: none.",
    lower_bound=0.0,
    upper_bound=10.0,
)
_CLASSES = flags.DEFINE_list("classes", None, "COCO classes that are vehicles; default: those of each protocol.")

RECORDED = Path("recorded")  # the ground-truth images


class Case(NamedTuple):
    """One log, its target views, and the renderers to score."""

    log: SceneData
    views: Sequence[Target]
    renderers: Mapping[str, Renderer]


def main(_: list[str]) -> None:
    """Score, and write and print the tables."""
    if not _RUN.value and not (_SOURCE.value and _IMAGES.value):
        raise ValueError("nothing to score: expected --run=FOLDER, or --source=LOG with --images=NAME=FOLDER.")
    networks, sources = metric_networks.load()
    protocols, cases, scores, pictures, growing = _protocols(), [], {}, ([], []), []
    for number, case in enumerate(_cases()):
        bar = progress(case.views, f"scoring {case.log.name}")
        scores[number] = score_log(case.log, bar, case.renderers, networks, protocols)
        growing += _growing_records(case, networks)
        if number == 0:
            pictures = _draw_middle_views(case, networks, protocols)
            _save_sheet(case, Path(_OUT.value) / "side_by_side.png")
        cases.append(case._replace(renderers={}))  # a scene and its posterior take much memory
    facts = {
        "networks": sources,
        "threshold": protocols.threshold,
        "classes": _CLASSES.value,
        "runs": ", ".join(_RUN.value),
    }
    content = _make_report(cases, scores, facts, *pictures)
    content = dataclasses.replace(content, extra={**content.extra, "growing": growing})
    tables = report.write_report(Path(_OUT.value), content)
    print("\n\n".join(map(as_text, tables)))
    print(f"page: {Path(_OUT.value) / 'index.html'}; also metrics.json, tables.md and tables.tex there")


def _make_report(
    cases: Sequence[Case],
    scores: Mapping[int, ScoreTable],
    facts: Mapping[str, Any],
    panels: Sequence[Panel],
    drawings: Sequence[Drawing],
) -> BenchmarkReport:
    """Collect the results of one log, or of several with their differences."""
    results, has_many = report.collect_results(scores), len(cases) > 1
    counts: dict[float, int] = {}
    for target in (target for case in cases for target in case.views):
        counts[target.shift] = counts.get(target.shift, 0) + 1
    extra: dict[str, Any] = {"views": [_view_records(table) for table in scores.values()]}
    if has_many:
        extra["each"] = [report.as_records(report.collect_results({0: table})) for table in scores.values()]
    has_versions = len({version for version, _ in results}) > 1
    unit = "m" if all(case.log.has_meters for case in cases) else "units"
    return BenchmarkReport(
        name=f"{len(cases)} logs" if has_many else cases[0].log.name,
        source=", ".join(_RUN.value) if has_many else cases[0].log.source,
        results=results,
        counts=counts,
        facts=facts,
        panels=panels,
        drawings=drawings,
        extra=extra,
        unit=unit,
        tables=[report.difference_table(scores, unit)] if has_many and has_versions else [],
    )


def _protocols() -> Protocols:
    """Build the protocols with the threshold and the classes of the flags."""
    default = Protocols(threshold=_THRESHOLD.value)
    if _CLASSES.value is None:
        return default
    classes = command_line.parse_numbers(_CLASSES, int)
    vehicles = {name: dataclasses.replace(value, classes=classes) for name, value in default.vehicles.items()}
    return dataclasses.replace(default, vehicles=vehicles)


def _cases() -> Iterator[Case]:
    if not _RUN.value:
        yield _folder_case()
    named = [entry.partition("=") for entry in _RUN.value if "=" in entry]
    if named and len(named) < len(_RUN.value):
        raise ValueError(f"invalid --run={','.join(_RUN.value)}: name all runs, NAME=FOLDER,.., or none.")
    if named:
        yield _side_by_side_case([(name, Path(folder)) for name, _, folder in named])
    for run in [] if named else _RUN.value:
        yield _run_case(Path(run))


def _side_by_side_case(entries: Sequence[tuple[str, Path]]) -> Case:
    """Build the case of several finished runs on one log, by name: their last versions, and repaired ones.

    Raises:
        ValueError: the runs have different logs.
    """
    configs = {name: read_config(folder) for name, folder in entries}
    first = next(iter(configs.values()))
    for name, config in configs.items():
        if config.data != first.data:
            raise ValueError(f"--run: {name} has another log than {entries[0][0]}; score them one by one.")
    shifts = first.evaluate.shifts if _SHIFTS.value is None else command_line.parse_numbers(_SHIFTS)
    log = open_log(command_line.with_log_path(first).data, shifts)
    every = _at_shifts(targets(log, shifts, count=10**9))
    selected = _limit_views(every)
    views, renderers = [target.view for target in [*selected, *_growing_targets(log)]], {}
    for name, folder in entries:
        run = list(load_versions(configs[name], log, folder).values())[-1]
        if not renderers:  # its EIG splits the pixels of all
            scene = scene_renderer(eig_renderer(run.scene, run.batches, first.eig.priors, views))
        else:
            scene = plain_renderer(run.scene, views)
        renderers |= _versions_of(name, run, scene)
    return Case(log, selected, renderers | _other_images(every))


def _versions_of(name: str, run: Run, scene: Renderer) -> dict[str, Renderer]:
    """Name what is scored of a run: its scene, or what its fixer makes of it and, beside it, the scene."""
    if not run.config.evaluate.repair:
        return {name: scene}
    fixer = fixer_of(run)
    repaired = {name: repairing_renderer(run, fixer)}
    return repaired | {f"{name} without the last repair": scene} if fixer.source == "render" else repaired


def _growing_targets(log: SceneData) -> list[Target]:
    rate = _GROWING.value
    return [target for side in (-1, 1) for target in growing_targets(log, side * rate)] if rate else []


def _growing_records(case: Case, networks: Networks) -> list[dict[str, Any]]:
    """Score the growing paths of a case; true images have none."""
    views = _growing_targets(case.log)
    others = {entry[0] for entry in _folders()}
    renderers = {name: render for name, render in case.renderers.items() if name not in others}
    if not views or not renderers:
        return []
    networks = networks._replace(lpips=None, inception=None)
    table = score_log(case.log, progress(views, "scoring growing paths"), renderers, networks, GROWING_PROTOCOLS)
    return report.as_records(report.collect_results({0: table}))


def _save_sheet(case: Case, path: Path) -> None:
    """Draw the middle view of every shift in all versions."""
    rows = []
    shifts = sorted({target.shift for target in case.views})
    for shift in shifts:
        group = [target for target in case.views if target.shift == shift]
        target = group[len(group) // 2]
        rows.append([render(target).rgb for render in case.renderers.values()])
    columns = list(case.renderers)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(path, contact_sheet(rows, columns, [shift_name(shift) for shift in shifts]))


def _run_case(workdir: Path) -> Case:
    """Build the case of a finished run, with the images of --images."""
    config = read_config(workdir)
    shifts = config.evaluate.shifts if _SHIFTS.value is None else command_line.parse_numbers(_SHIFTS)
    log = open_log(command_line.with_log_path(config).data, shifts)
    every = _at_shifts(targets(log, shifts, count=10**9))
    selected = _limit_views(every)
    views = [target.view for target in selected]
    renderers = {
        name: scene_renderer(eig_renderer(run.scene, run.batches, config.eig.priors, views))
        for name, run in load_versions(config, log, workdir).items()
    }
    return Case(log, selected, renderers | _other_images(every))


def _folder_case() -> Case:
    """Build the case of images without a run."""
    rendered = [folder for _, folder in _folders() if folder != RECORDED]
    width = _WIDTH.value or (first_width(rendered[0]) if rendered else 0)
    shifts = () if _SHIFTS.value is None else command_line.parse_numbers(_SHIFTS)
    log = open_log(DataConfig(source=command_line.log_path(_SOURCE.value), width=width), shifts)
    every = _at_shifts(targets(log, shifts, count=10**9))
    return Case(log, _limit_views(every), _other_images(every))


def _at_shifts(every: list[Target]) -> list[Target]:
    """Select the views at the shifts of --shifts; without the flag all, also those of a second camera."""
    if _SHIFTS.value is None:
        return every
    shifts = command_line.parse_numbers(_SHIFTS)
    return [target for target in every if any(abs(target.shift - shift) < 0.02 for shift in shifts)]


def _limit_views(every: list[Target]) -> list[Target]:
    """Select at most --frames views per shift."""
    shifts = sorted({target.shift for target in every})
    groups = ([target for target in every if target.shift == shift] for shift in shifts)
    return [target for group in groups for target in evenly_spaced(group, _FRAMES.value or len(group))]


def _folders() -> list[tuple[str, Path]]:
    pairs = [entry.partition("=") for entry in _IMAGES.value]
    for name, sign, folder in pairs:
        if not (name and sign and folder):
            raise ValueError(f"invalid --images={name}{sign}{folder}: expected NAME=FOLDER.")
    return [(name, Path(folder)) for name, _, folder in pairs]


def _other_images(every: list[Target]) -> dict[str, Renderer]:
    return {
        name: true_renderer if folder == RECORDED else folder_renderer(folder, every) for name, folder in _folders()
    }


def _draw_middle_views(case: Case, networks: Networks, protocols: Protocols) -> tuple[list[Panel], list[Drawing]]:
    """Draw the middle view of every shift and camera."""
    panels, drawings = [], []
    for shift, camera in sorted({(target.shift, target.frame.camera) for target in case.views}):
        group = [t for t in case.views if (t.shift, t.frame.camera) == (shift, camera)]
        target = group[len(group) // 2]
        renders = {name: render(target) for name, render in case.renderers.items()}
        panels.append(report.make_panel(target, list(renders.values())))
        for name, rendered in renders.items():
            drawing = report.draw_overlays(case.log, target, rendered, networks, protocols, name)
            if drawing is not None:
                drawings.append(drawing)
    return panels, drawings


def _view_records(table: ScoreTable) -> list[dict[str, Any]]:
    return [
        {"version": version, "shift": shift} | row
        for (version, shift), measurements in table.measurements.items()
        for row in measurements.frames
    ]


if __name__ == "__main__":
    command_line.run(main)
