"""Edit the actors of a finished run (remove, move, duplicate or replace them) and render the result.

python -m experiments.edit --run=runs/demo --out=runs/demo/edited --remove=25 --move=26:3,0,0
"""

from collections.abc import Callable
from functools import partial, reduce
from pathlib import Path

import jax
import numpy as np
from absl import flags
from jaxtyping import Float

from experiments.cli import command_line
from ff_jax.data.open import open_log
from ff_jax.export.actor_sheet import actor_sheet
from ff_jax.export.image_bytes import save_png, to_uint8
from ff_jax.export.video import write_mp4
from ff_jax.pipeline.fuse import choose_version, load_versions, read_config
from ff_jax.pipeline.initialize import make_recording
from ff_jax.runtime.progress import progress
from ff_jax.scene import Scene, edit, render_scene
from ff_jax.train.batches import shifted_view
from ff_jax.train.capacity import count_intersections, resize_capacity

_RUN, _VERSION = command_line.run_flags()
_OUT = flags.DEFINE_string("out", None, "Folder for the index of actors (actors.png) and the images.", required=True)
_REMOVE = flags.DEFINE_list("remove", [], "Ids of the actors to remove.")
_MOVE = flags.DEFINE_multi_string("move", [], "ID:X,Y,Z[,DEGREES]: meters forward, left, up; rotation to the left.")
_COPY = flags.DEFINE_multi_string("duplicate", [], "ID:X,Y,Z[,DEGREES]: add a copy, moved like --move.")
_REPLACE = flags.DEFINE_multi_string("replace", [], "ID:OTHER: give an actor the Gaussians of another one.")
_SHIFT = flags.DEFINE_float(
    "shift", 0.0, "Lateral shift of the camera in meters, left positive.", lower_bound=-100.0, upper_bound=100.0
)
_TILT = flags.DEFINE_float("tilt", 0.0, "Upward tilt of the camera in degrees.", lower_bound=-180.0, upper_bound=180.0)

Edit = Callable[[Scene], Scene]


def parse_edits(names: tuple[str, ...]) -> list[Edit]:
    """Parse the edits of the flags, in the order in which they are applied.

    Args:
        names: ids of the actors of the scene.

    Raises:
        ValueError: an actor does not exist, or a motion is malformed.
    """
    edits: list[Edit] = []
    for text in _REPLACE.value:
        name, _, other = text.partition(":")
        edits.append(partial(edit.replace, actor=_index(names, name), other=_index(names, other)))
    for text in _MOVE.value:
        name, offset, angle = _parse_motion(text)
        edits.append(partial(edit.move, actor=_index(names, name), by=offset, turn=angle))
    for text in _COPY.value:
        name, offset, angle = _parse_motion(text)
        edits.append(partial(_add_copy, actor=_index(names, name), offset=offset, angle=angle))
    return edits + [partial(edit.remove, actor=_index(names, name)) for name in _REMOVE.value]


def _add_copy(scene: Scene, actor: int, offset: Float[np.ndarray, "3"], angle: float) -> Scene:
    scene = edit.duplicate(scene, actor)
    return edit.move(scene, scene.tracks.sizes.shape[0] - 1, offset, angle)


def _index(names: tuple[str, ...], name: str) -> int:
    if name not in names:
        raise ValueError(f"invalid actor {name!r}: expected one of {', '.join(names) or 'none'} (see actors.png).")
    return names.index(name)


def _parse_motion(text: str) -> tuple[str, Float[np.ndarray, "3"], float]:
    """Parse ID:X,Y,Z[,DEGREES] to the id, the offset in meters and the angle in radians."""
    name, _, values = text.partition(":")
    try:
        x, y, z, *degrees = (float(value) for value in values.split(","))
    except ValueError:
        raise ValueError(
            f"invalid motion {text!r}: expected ID:X,Y,Z or ID:X,Y,Z,DEGREES in meters and degrees."
        ) from None
    return name, np.array([x, y, z]), float(np.deg2rad(degrees[0])) if degrees else 0.0


def main(_: list[str]) -> None:
    """Edit and render the run."""
    workdir, out = Path(_RUN.value), Path(_OUT.value)
    config = read_config(workdir)
    log = open_log(command_line.with_log_path(config).data, ())
    edits = parse_edits(make_recording(log, config).actors)  # fails before the run is loaded
    run = choose_version(load_versions(config, log, workdir), _VERSION.value)
    out.mkdir(parents=True, exist_ok=True)
    save_png(out / "actors.png", actor_sheet(log, run.recording.actors))
    scene = reduce(lambda scene, edit: edit(scene), edits, run.state.train.scene)
    tilt = float(np.deg2rad(_TILT.value))
    views = [shifted_view(frame, log, _SHIFT.value, tilt) for frame in run.recording.padded_frames]
    settings = resize_capacity(run.plan.settings, count_intersections(scene, views, run.plan.settings))
    model, render = run.scene.replace(scene=scene, settings=settings), jax.jit(render_scene)
    frames = [to_uint8(render(model, view).rgb) for view in progress(views, "rendering")]
    for index, frame in enumerate(frames):
        save_png(out / f"{index:04d}.png", frame)
    write_mp4(out / "edited.mp4", frames, fps=10)
    print(f"{len(frames)} frames and actors.png in {out}")


if __name__ == "__main__":
    command_line.run(main)
