"""Render a finished run of the main job along its path at a lateral shift: PNG frames, EIG maps and an MP4.

python -m experiments.render --run=runs/demo --out=runs/demo/left2 --shift=2
"""

from pathlib import Path

import numpy as np
from absl import flags

from experiments.cli import command_line
from ff_jax.data.open import open_log
from ff_jax.export.colormaps import eig_figure
from ff_jax.export.image_bytes import save_png
from ff_jax.export.video import write_mp4
from ff_jax.pipeline.fix_event import shifted_view
from ff_jax.pipeline.fuse import finished, read_config
from ff_jax.pipeline.results import show
from ff_jax.runtime.run_log import progress

_RUN = flags.DEFINE_string("run", None, "Folder of a finished run.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder for the pictures.", required=True)
_SHIFT = flags.DEFINE_float("shift", 0.0, "Lateral shift in metres, left positive.")
_VERSION = flags.DEFINE_enum("version", "Fused", ["Fused", "Reconstruction only"], "Which scene.")


def main(_: list[str]) -> None:
    """Render the run."""
    workdir, out = Path(_RUN.value), Path(_OUT.value)
    config = read_config(workdir)
    log = open_log(command_line.with_log_path(config).data, ())
    feed, versions = finished(config, log, workdir)
    views = [shifted_view(frame, log.world_from_ego, _SHIFT.value) for frame in feed.frames]
    scene = show(versions[_VERSION.value], feed, views, config)
    frames = []
    for index, view in enumerate(progress(views, "rendering")):
        rgb, gain = scene.look(view)
        save_png(out / f"{index:04d}.png", rgb)
        save_png(out / f"{index:04d}_eig.png", eig_figure(gain, render=rgb, vmax=3.0))
        frames.append((rgb * 255).round().astype(np.uint8))
    write_mp4(out / "render.mp4", frames, fps=10)
    print(f"{len(frames)} frames in {out}")


if __name__ == "__main__":
    command_line.run(main)
