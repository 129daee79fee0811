"""Evaluate trained fixers on held-out streets: what they repair, and what they damage.

python -m experiments.studies.fixers --out=runs/fixer_study
python -m experiments.studies.fixers --out=runs/fixer_study --streets=0:3 --lpips=none
python -m experiments.studies.fixers --out=runs/fixer_study --weights=no_eig=runs/difix_no_eig/tiny.safetensors
python -m experiments.studies.fixers --out=runs/video_study --fixers=eigent,difix
python -m experiments.studies.fixers --out=runs/unet_study --fixers=reference_unet

Each street is reconstructed from its 12 recorded views and rendered 3 and 6 m to the left. Scores are over the whole
image, and over under-constrained (UCR) and well-determined (HPR) pixels, split by EIG. Rows: the render; its repair;
the repair by the same network without blending by EIG, and without EIG in its input channels, in its modulation, and in
both; and networks of other files, which may have been trained without them.

With `reference_unet`: the repair without blending by EIG, and by a network that does not see EIG.

With the video fixer, each view is a clip: it moves from the recorded image to the shift, and 9 frames along the path
are scored, also by their change from frame to frame. Rows: the trained fixer, and the fixer without EIG as an input,
mask, reference, denoising (only its decoder), and blending by EIG.
"""

import json
from pathlib import Path

from absl import flags

from experiments.cli import command_line, metric_networks
from experiments.fixers.streets import settings
from experiments.studies.measures.fixers import (
    CHOICE,
    REPAIR,
    VIDEO,
    choice_variants,
    markdown,
    panel,
    score,
    summary,
    variants,
    video_variants,
)
from ff_jax.export.image_bytes import save_png
from ff_jax.fixers import registry
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.pair_files import load, save, shard_path
from ff_jax.fixers.pretrained import load_fixer
from ff_jax.pipeline.street_pairs import build
from ff_jax.pipeline.street_plans import study_clips, study_plan
from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.runtime.progress import progress

flags.adopt_module_key_flags(metric_networks)  # --help lists them
_OUT = flags.DEFINE_string("out", None, "Folder of views, table and images.", required=True)
_STREETS = flags.DEFINE_string("streets", "0:10", "Seeds of the streets, FIRST:STOP.")
_SHIFTS = flags.DEFINE_list("shifts", ["3", "6"], "Meters to the left.")
_VIEWS = flags.DEFINE_integer("views", 4, "Views per street and shift.", lower_bound=1, upper_bound=1_000_000)
_STEPS = flags.DEFINE_integer(
    "steps", 1300, "Training steps of a reconstruction.", lower_bound=1, upper_bound=100_000_000
)
_FIXERS = flags.DEFINE_list("fixers", [REPAIR], "Fixers to evaluate: difix, eigent, reference_unet.")
_FRAMES = 9  # of a clip that are scored
_WEIGHTS = flags.DEFINE_list("weights", [], "Other networks, NAME=FILE.")


def make_fixers() -> dict[str, Fixer]:
    """Make the fixers to evaluate, by name."""
    makers, fixers = {REPAIR: variants, VIDEO: video_variants, CHOICE: choice_variants}, {}
    for name in _FIXERS.value:
        if name not in makers:
            raise ValueError(f"invalid --fixers={name}: expected some of {', '.join(makers)}.")
        fixers |= makers[name](registry.make_fixer(name))
    for entry in _WEIGHTS.value:
        name, mark, file = entry.partition("=")
        if not mark:
            raise ValueError(f"invalid --weights={entry!r}: expected NAME=FILE.")
        fixers[name] = load_fixer("difix", file)
    return fixers


def main(_: list[str]) -> None:
    """Make the views that are missing, score all fixers, and write table and images."""
    out, first, config = Path(_OUT.value), {}, settings()
    networks, sources = metric_networks.load()
    fixers, rows = make_fixers(), []
    num_context = max(fixer.num_context_frames for fixer in fixers.values())
    shifts = command_line.parse_numbers(_SHIFTS)
    plan = study_plan(shifts, _VIEWS.value, _STEPS.value)
    if num_context:
        plan = study_clips(shifts, num_context, _FRAMES, _STEPS.value)
    length = num_context + _FRAMES if num_context else 0
    for seed in progress(command_line.parse_range(_STREETS.value, "streets"), "streets"):
        path = shard_path(out / "views", seed)
        if not path.is_file():
            save(path, build(config, seed, plan))
        views = load([path])
        scores, examples = score(fixers, views, config.eig.tau, networks.lpips, length, num_context)
        rows += [row | {"street": seed} for row in scores]
        first |= {seed: examples}
    table = markdown(summary(rows))
    for name, text in (("table.md", table), ("rows.json", json.dumps({"networks": sources, "rows": rows}, indent=1))):
        with atomic_write(out / name) as temporary:
            temporary.write_text(text)
    save_png(out / "panel.png", panel([row for seed in list(first)[:2] for row in first[seed]]))
    print(f"{table}\n{out}: table.md, rows.json, panel.png")


if __name__ == "__main__":
    command_line.run(main)
