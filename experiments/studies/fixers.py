"""What trained fixers repair, and what they harm, on streets they have never seen.

python -m experiments.studies.fixers --out=runs/fixer_study
python -m experiments.studies.fixers --out=runs/fixer_study --streets=0:3 --lpips=none
python -m experiments.studies.fixers --out=runs/fixer_study --weights=blind=runs/difix_blind/tiny.safetensors
python -m experiments.studies.fixers --out=runs/video_study --fixers=eigent,difix

Every street is reconstructed from its 12 recorded views and rendered 3 and 6 m to the left. Scores are those of the
whole image, and apart of what the recording leaves open (UCR) and of what it determines (HPR), split by EIG. Rows:
the render; its repair; the repair by the same network without blending by EIG, and with EIG hidden from its input
channels, from its modulation, and from both; and networks of other files, which may have been trained without them.

With the video fixer, every view is a clip: it slides from the recorded image to the shift, and 9 frames along the path
are judged, also by how much they change from one to the next. Rows: it as trained, and without EIG as an input, mask,
reference, anything generated (its decoder alone), and blending by EIG.
"""

import json
from pathlib import Path

from absl import flags

from experiments.cli import command_line, metric_networks
from experiments.fixers.streets import settings
from experiments.studies.measures.fixers import REPAIR, VIDEO, markdown, panel, score, summary, variants, video_variants
from ff_jax.export.image_bytes import save_png
from ff_jax.fixers import registry
from ff_jax.fixers.pair_files import load, save, shard_path
from ff_jax.pipeline.street_pairs import build
from ff_jax.pipeline.street_plans import study_clips, study_plan
from ff_jax.runtime.atomic_files import replacing
from ff_jax.runtime.run_log import progress

_OUT = flags.DEFINE_string("out", None, "Folder of views, table and pictures.", required=True)
_STREETS = flags.DEFINE_string("streets", "0:10", "Streets, FIRST:STOP.")
_SHIFTS = flags.DEFINE_list("shifts", ["3", "6"], "Metres to the left.")
_VIEWS = flags.DEFINE_integer("views", 4, "Views per street and shift.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 1300, "Training steps of a reconstruction.", lower_bound=1)
_FIXERS = flags.DEFINE_list("fixers", [REPAIR], "Which to judge: difix, eigent.")
_FRAMES = 9  # of a clip that are judged
_WEIGHTS = flags.DEFINE_list("weights", [], "Further networks, NAME=FILE.")


def fixers() -> dict:
    """Return the fixers to judge by name."""
    made, found = {REPAIR: variants, VIDEO: video_variants}, {}
    for name in _FIXERS.value:
        if name not in made:
            raise ValueError(f"--fixers={name} is wrong: choose among {', '.join(made)}.")
        found |= made[name](registry.build(name))
    for entry in _WEIGHTS.value:
        from ff_jax.fixers.difix import pretrained  # diffusers takes seconds to import

        name, mark, file = entry.partition("=")
        if not mark:
            raise ValueError(f"--weights={entry!r} is wrong: give NAME=FILE.")
        found[name] = pretrained.build(file)
    return found


def main(_: list[str]) -> None:
    """Make the views that are missing, judge all, and write table and pictures."""
    out, first, config = Path(_OUT.value), {}, settings()
    judges, said = metric_networks.load()
    judged, rows = fixers(), []
    lead, shifts = max(fixer.lead for fixer in judged.values()), command_line.numbers(_SHIFTS)
    plan = study_plan(shifts, _VIEWS.value, _STEPS.value)
    if lead:
        plan = study_clips(shifts, lead, _FRAMES, _STEPS.value)
    length = lead + _FRAMES if lead else 0
    for seed in progress(range(*command_line.pair(_STREETS.value, ":", "streets")), "streets"):
        path = shard_path(out / "views", seed)
        if not path.is_file():
            save(path, build(config, seed, plan))
        views = load([path])
        found, shown = score(judged, views, config.eig.tau, judges.lpips, length, lead)
        rows += [row | {"street": seed} for row in found]
        first |= {seed: shown}
    table = markdown(summary(rows))
    for name, text in (("table.md", table), ("rows.json", json.dumps({"networks": said, "rows": rows}, indent=1))):
        with replacing(out / name) as temporary:
            temporary.write_text(text)
    save_png(out / "panel.png", panel([row for seed in list(first)[:2] for row in first[seed]]))
    print(f"{table}\n{out}: table.md, rows.json, panel.png")


if __name__ == "__main__":
    command_line.run(main)
