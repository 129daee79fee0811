"""Render a finished run along its path at a lateral shift: PNG frames, EIG maps and an MP4.

python -m experiments.render --run=runs/demo --out=runs/demo/left2 --shift=2
"""

from pathlib import Path

from absl import flags

from experiments.cli import command_line
from ff_jax.data.open import open_log
from ff_jax.evaluation.renderers import eig_renderer
from ff_jax.export.colormaps import eig_figure
from ff_jax.export.image_bytes import save_png, to_uint8
from ff_jax.export.records import shift_name
from ff_jax.export.video import write_mp4
from ff_jax.pipeline.fuse import choose_version, load_versions, read_config
from ff_jax.runtime.progress import progress

_RUN, _VERSION = command_line.run_flags()
_OUT = flags.DEFINE_string("out", None, "Folder for the images.", required=True)
_SHIFT = flags.DEFINE_float(
    "shift", 0.0, "Lateral shift in meters, left positive.", lower_bound=-100.0, upper_bound=100.0
)


def main(_: list[str]) -> None:
    """Render the run."""
    workdir, out = Path(_RUN.value), Path(_OUT.value)
    config = read_config(workdir)
    log = open_log(command_line.with_log_path(config).data, ())
    run = choose_version(load_versions(config, log, workdir), _VERSION.value)
    views = [run.view(frame, _SHIFT.value) for frame in run.recording.frames]
    renderer = eig_renderer(run.scene, run.batches, config.eig.priors, views)
    frames = []
    for index, view in enumerate(progress(views, "rendering")):
        rgb, eig, _ = renderer.render(view)
        save_png(out / f"{index:04d}.png", rgb)
        save_png(out / f"{index:04d}_eig.png", eig_figure(eig, render=rgb, vmax=3.0))
        frames.append(to_uint8(rgb))
    write_mp4(out / "render.mp4", frames, fps=10)
    print(f"{len(frames)} frames, {shift_name(_SHIFT.value, log.unit)}, in {out}")


if __name__ == "__main__":
    command_line.run(main)
