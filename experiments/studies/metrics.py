"""Can the metrics be trusted, and how far do they move with what the papers leave open? (docs/benchmark_protocol.md)

python -m experiments.studies.metrics --workdir=runs/metrics

Part 1 puts known faults into true images and labels of the built-in street: blur, noise, labels beside their place.
Part 2 measures one set of images under other readings of every protocol.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments.cli import command_line, metric_networks
from experiments.studies.measures import metric_protocols
from experiments.studies.measures.degradations import (
    BLUR,
    LATERAL,
    NOISE,
    Fault,
    faulty_renderers,
    moved_labels,
    version,
)
from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import SceneData
from ff_jax.data.synthetic import World, WorldConfig, make_world
from ff_jax.data.synthetic.driving_log import world_scene
from ff_jax.evaluation import summary
from ff_jax.evaluation.benchmark import Board, Networks, score_log
from ff_jax.evaluation.renderers import Rendering
from ff_jax.evaluation.shifted_views import targets
from ff_jax.export.figures import draw_curves
from ff_jax.export.image_bytes import save_png
from ff_jax.export.records import Curve, Series
from ff_jax.export.tables import Table, as_markdown, as_text
from ff_jax.runtime.atomic_files import replacing
from ff_jax.runtime.run_log import progress

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the results.", required=True)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Streets.")
_FRAMES = flags.DEFINE_integer("frames", 12, "Views of every street.")
_WIDTH = flags.DEFINE_integer("width", 640, "Of the images, pixels.")
_HEIGHT = flags.DEFINE_integer("height", 384, "Of the images, pixels.")

SHIFT = 3.0  # metres, for part 2
# What each metric must do when a fault grows: +1 rise, -1 fall, 0 is not asked.
MUST = {
    "psnr": {"blur": -1, "noise": -1},
    "ssim": {"blur": -1, "noise": -1},
    "lpips": {"blur": 1, "noise": 1},
    "fid": {"blur": 1, "noise": 1},
    "kid": {"blur": 1, "noise": 1},
    "nta": {"blur": -1, "noise": -1, "lateral": -1},
    "nta_strict": {"blur": -1, "noise": -1, "lateral": -1},
    "ntl": {"blur": -1, "noise": -1, "lateral": -1},
    "lane": {"blur": -1, "noise": -1, "lateral": -1},
    "lane_strict": {"blur": -1, "noise": -1, "lateral": -1},
    "background": {"blur": 0, "noise": 0, "lateral": 0},
    "depth_mae": {"noise": 1},
    "depth_delta": {"noise": -1},
    "warp": {"blur": 0, "noise": 1},
}
HEADS = {metric.key: metric.head.rstrip("^_") for metric in (*summary.MAIN, *summary.STRICT)}


def main(_: list[str]) -> None:
    """Run both parts, draw, write and print."""
    if _FRAMES.value < 4:
        raise ValueError(f"--frames={_FRAMES.value} is too few: half of them must make a set for FID; give 4 or more.")
    workdir = Path(_WORKDIR.value)
    nets, said = metric_networks.load()
    nets = nets._replace(detector=_asked_once(nets.detector), lanes=_asked_once(nets.lanes))
    values, rows = {}, []
    for seed in command_line.numbers(_SEEDS, int):
        log, world = _street(seed)
        board = _faults(log, world, nets)
        for (name, _), _cell in board.cells.items():
            values.setdefault(name, []).append({k: v.mean for k, v in summary.summarize(board, name, 0.0).items()})
        rows.append(metric_protocols.measure(log, SHIFT, nets))
    curves = _curves(values)
    save_png(workdir / "sanity.png", draw_curves(curves, columns=4))
    tables = [_verdicts(values), metric_protocols.table(rows)]
    content = {"values": values, "choices": rows, "networks": said, "seeds": _SEEDS.value}
    with replacing(workdir / "metrics.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2).replace("NaN", "null"))
    with replacing(workdir / "tables.md") as temporary:
        temporary.write_text("\n\n".join(map(as_markdown, tables)) + "\n", encoding="utf-8")
    print("\n\n".join(map(as_text, tables)))
    print(f"picture: {workdir / 'sanity.png'}")


def _asked_once(network: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    """Return a network that keeps what it found: moved labels and other readings leave the images as they are."""
    known: dict[bytes, Any] = {}

    def ask(image: Any) -> Any:
        key = hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()
        if key not in known:
            known[key] = network(image)
        return known[key]

    return network and ask


def _street(seed: int) -> tuple[SceneData, World]:
    config = WorldConfig(num_frames=_FRAMES.value, moving=False)
    log = world_scene(seed, config, _WIDTH.value, _HEIGHT.value, test_shifts=(SHIFT,))
    return log, make_world(seed, config)


def _faults(log: SceneData, world: World, nets: Networks) -> Board:
    """Score true images with every fault at every level."""
    chosen = [target for target in targets(log, (0.0,), 10**9) if target.shift == 0]
    board = score_log(log, progress(chosen, f"faults in {log.name}"), faulty_renderers(world), nets)
    clean = lambda target: Rendering(load_image(target.frame))
    for level in LATERAL.levels:
        moved = score_log(
            moved_labels(log, level),
            chosen,
            {version(LATERAL, level): clean},
            nets._replace(inception=None, lpips=None),
        )
        board.cells |= moved.cells
    return board


def _series(values: Mapping[str, Sequence[Mapping[str, float]]], key: str, fault: Fault) -> np.ndarray | None:
    """Return a metric by level and seed; None if it was not measured."""
    table = [[seed.get(key, np.nan) for seed in values[version(fault, level)]] for level in fault.levels]
    return None if np.isnan(table).all() else np.array(table, float)


def _curves(values: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Curve]:
    """Return one chart per metric: mean and spread over streets, by the level of each fault."""
    curves = []
    for key, faults in MUST.items():
        lines = []
        for fault in (BLUR, NOISE, LATERAL):
            found = _series(values, key, fault) if fault.name in faults else None
            if found is not None:
                known = np.isfinite(found).all(1)  # the PSNR of equal images is infinite
                mean, deviation = found[known].mean(1), found[known].std(1)
                label = f"{fault.name} {', '.join(f'{level:g}' for level in fault.levels)}"
                lines.append(Series(label, np.flatnonzero(known).tolist(), mean, mean - deviation, mean + deviation))
        if lines:
            curves.append(Curve(HEADS[key], "level", lines))
    return curves


def _verdict(found: np.ndarray, way: int) -> str:
    """Say whether a metric (levels by streets) goes one way; a step against it must exceed twice its standard error."""
    if not way:
        return "not asked"
    steps = np.diff(found[np.isfinite(found).all(1)], axis=0) * way
    mean = steps.mean(1)
    if (mean >= 0).all():
        return "yes"
    error = steps.std(1, ddof=1) / np.sqrt(steps.shape[1]) if steps.shape[1] > 1 else np.zeros(len(steps))
    size = f"{-mean.min():.2g}"
    return f"no, by {size}" if (-mean > 2 * error).any() else f"within noise ({size} against)"


def _verdicts(values: Mapping[str, Sequence[Mapping[str, float]]]) -> Table:
    """Return every metric at every level, and whether its mean over streets is monotone as it must be."""
    rows = []
    for key, faults in MUST.items():
        for fault in (BLUR, NOISE, LATERAL):
            found = _series(values, key, fault) if fault.name in faults else None
            if found is None:
                continue
            mean = [row[np.isfinite(row)].mean() if np.isfinite(row).any() else np.nan for row in found]
            rows.append(
                (HEADS[key], fault.name, *(f"{value:.4g}" for value in mean), _verdict(found, faults[fault.name]))
            )
    return Table(
        "Faults at growing levels (means over streets)", ("metric", "fault", *map(str, range(5)), "monotone"), rows
    )


if __name__ == "__main__":
    command_line.run(main)
