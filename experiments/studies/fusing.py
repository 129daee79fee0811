"""Dissect fusing on a log: what repairs are worth at each event, and what training on them does.

python -m experiments.studies.fusing --workdir=runs/fusing
python -m experiments.studies.fusing --workdir=runs/fusing --config=experiments/configs/kitti_stereo.py --oracle
python -m experiments.studies.fusing --workdir=runs/signals --config=experiments/configs/six_meters.py \
    --signals=all --seeds=0,1,2,3,4
python -m experiments.studies.fusing --workdir=runs/signals_kitti --config=experiments/configs/kitti_stereo.py \
    --signals=all --seeds=0

The run of `fuse` stops at every fix event. There, and at the end, the true views of the log (test frames) are rendered
by the scene with and without fusing, repaired by the fixer of the event, and re-projected from recorded images. Each is
compared with the truth: over the whole view, and over under-constrained (UCR) and well-determined (HPR) pixels.
Columns: the step; the shift of the views, meters; the version of the scene; the number of pseudo-views and the steps
since they were made; PSNR (dB) and LPIPS of render, repair and reference. With --oracle the best that re-projection
could give is added: for every block of 7 x 7 pixels, the recorded image and the depth with the smallest error.

With --signals, the whole fused scene is compared for every signal as guidance of the fixer, as blending mask, as loss
weight, and for all three together; the other uses keep exact EIG. All variants of a seed share the reconstruction up
to the first event. Finished variants are read. "all" leaves out the true error where a log does not have it.
"""

import dataclasses
import json
from pathlib import Path

from absl import flags

from experiments.cli import command_line, metric_networks
from experiments.studies.measures.fusing import EventStudy, markdown
from experiments.studies.measures.steering import REGIONS, USES, SteeringStudy, variants
from experiments.studies.measures.steering_table import steering_tables
from ff_jax.data.open import open_log
from ff_jax.eig.config import SIGNALS
from ff_jax.metrics.lpips import Lpips
from ff_jax.pipeline.config import FuseConfig, to_dict
from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.runtime.progress import progress
from ff_jax.runtime.run_facts import check_settings, write_run_facts
from ff_jax.runtime.settings import MAX_STEPS
from ff_jax.train.shift_schedule import shifts_until

flags.adopt_module_key_flags(metric_networks)  # --help lists them
_CONFIG = command_line.config_flag("experiments/configs/fuse.py:cpu")
_WORKDIR = command_line.workdir_flag("Folder of the run and of the tables.")
_ORACLE = flags.DEFINE_bool("oracle", False, "Measure the best possible re-projection at the last step.")


_SIGNALS = flags.DEFINE_list("signals", [], "Signals to compare, or all; nothing dissects one run.")
_USES = flags.DEFINE_list("uses", list(USES), "Uses of the signals: guidance, blend, weight, all.")
_SEEDS = command_line.seeds_flag(1, "Seeds of the streets and of all random numbers, with --signals.")


def main(_: list[str]) -> None:
    """Dissect one run, or compare signals."""
    config = command_line.with_log_path(command_line.to_config(_CONFIG.value))
    workdir = Path(_WORKDIR.value)
    networks, sources = metric_networks.load()
    if _SIGNALS.value:
        compare_signals(config, workdir, networks.lpips)
        return
    study = EventStudy(config, open_log(config.data, config.evaluate.shifts), workdir, networks.lpips)
    rows = []
    for scores in study.run(use_oracle=_ORACLE.value):
        rows += scores
        facts = {"networks": sources, "fixer_skill": study.skill, "rows": rows}
        for name, text in (("table.md", markdown(rows, study.log.unit)), ("rows.json", json.dumps(facts, indent=1))):
            with atomic_write(workdir / name) as temporary:
                temporary.write_text(text)
    print(f"{markdown(rows, study.log.unit)}\n{workdir}: table.md, rows.json")


def compare_signals(config: FuseConfig, workdir: Path, lpips: Lpips | None) -> None:
    """Fuse with every signal in every use, for every seed; write the tables after every seed, and print them."""
    signals, uses, results = chosen_signals(config), chosen_uses(), {}
    for seed in progress(command_line.parse_numbers(_SEEDS, int), "seeds"):
        own = dataclasses.replace(config, seed=seed, data=dataclasses.replace(config.data, seed=seed))
        folder = workdir / f"seed{seed}"
        check_settings(folder, to_dict(own), resume=True)
        write_run_facts(folder, to_dict(own))
        study = SteeringStudy(own, open_log(own.data, all_shifts(own)), folder, lpips)
        results[seed] = dict(study.run(variants(signals, uses)))
        tables = "\n".join(steering_tables(results, signals, uses, region) for region in REGIONS)
        for name, text in (("table.md", tables), ("results.json", json.dumps(results))):
            with atomic_write(workdir / name) as temporary:
                temporary.write_text(text)
    print(f"{(workdir / 'table.md').read_text()}\n{workdir}: table.md, results.json")


def chosen_signals(config: FuseConfig) -> list[str]:
    """List the signals of --signals, exact EIG first; "all" leaves out the true error where it is unknown.

    Raises:
        ValueError: there is no such signal.
    """
    if _SIGNALS.value == ["all"]:
        return [name for name in SIGNALS if name != "error" or config.data.source == "world"]
    for name in _SIGNALS.value:
        if name not in SIGNALS:
            raise ValueError(f"invalid --signals={name}: expected all, or some of {', '.join(SIGNALS)}.")
    return [SIGNALS[0], *(name for name in _SIGNALS.value if name != SIGNALS[0])]


def chosen_uses() -> list[str]:
    """List the uses of --uses.

    Raises:
        ValueError: there is no such use.
    """
    for use in _USES.value:
        if use not in USES:
            raise ValueError(f"invalid --uses={use}: expected some of {', '.join(USES)}.")
    return list(_USES.value)


def all_shifts(config: FuseConfig) -> tuple[float, ...]:
    """List the shifts (meters) at which a street needs true images: those of the events, and those that are scored."""
    events = [side * size for size in shifts_until(MAX_STEPS, config.schedule) for side in config.schedule.sides]
    return tuple(dict.fromkeys((*config.evaluate.shifts, *events)))


if __name__ == "__main__":
    command_line.run(main)
