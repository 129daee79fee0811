"""Dissect fusing on a log: what repairs are worth at each event, and what training on them does.

python -m experiments.studies.fusing --workdir=runs/fusing
python -m experiments.studies.fusing --workdir=runs/fusing --config=experiments/configs/kitti_stereo.py --oracle

The run of `fuse` stops at every fix event. There, and at the end, the true views of the log (test frames) are rendered
by the scene with and without fusing, repaired by the fixer of the event, and re-projected from recorded images. Each is
compared with the truth: over the whole view, and over under-constrained (UCR) and well-determined (HPR) pixels.
Columns: the step; the shift of the views, meters; the version of the scene; the number of pseudo-views and the steps
since they were made; PSNR (dB) and LPIPS of render, repair and reference. With --oracle the best that re-projection
could give is added: for every block of 7 x 7 pixels, the recorded image and the depth with the smallest error.
"""

import json
from pathlib import Path

from absl import flags

from experiments.cli import command_line, metric_networks
from experiments.studies.measures.fusing import EventStudy, markdown
from ff_jax.data.open import open_log
from ff_jax.runtime.atomic_files import atomic_write

flags.adopt_module_key_flags(metric_networks)  # --help lists them
_CONFIG = command_line.config_flag("experiments/configs/fuse.py:cpu")
_WORKDIR = command_line.workdir_flag("Folder of the run and of the tables.")
_ORACLE = flags.DEFINE_bool("oracle", False, "Measure the best possible re-projection at the last step.")


def main(_: list[str]) -> None:
    """Run both versions from event to event; write the table after every stop, and print it."""
    config = command_line.with_log_path(command_line.to_config(_CONFIG.value))
    workdir = Path(_WORKDIR.value)
    networks, sources = metric_networks.load()
    study = EventStudy(config, open_log(config.data, config.evaluate.shifts), workdir, networks.lpips)
    rows = []
    for scores in study.run(use_oracle=_ORACLE.value):
        rows += scores
        facts = {"networks": sources, "fixer_skill": study.skill, "rows": rows}
        for name, text in (("table.md", markdown(rows, study.log.unit)), ("rows.json", json.dumps(facts, indent=1))):
            with atomic_write(workdir / name) as temporary:
                temporary.write_text(text)
    print(f"{markdown(rows, study.log.unit)}\n{workdir}: table.md, rows.json")


if __name__ == "__main__":
    command_line.run(main)
