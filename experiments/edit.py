"""Edit the actors of a finished run: remove, move, duplicate or replace them, and render the result.

python -m experiments.edit --run=runs/demo --out=runs/demo/edited --remove=25 --move=26:3,0,0
"""

from collections.abc import Callable
from functools import partial, reduce
from pathlib import Path

import jax
import numpy as np
from absl import flags

from experiments.cli import command_line
from ff_jax.data.open import open_log
from ff_jax.export.actor_sheet import actor_sheet
from ff_jax.export.image_bytes import save_png, to_uint8
from ff_jax.export.video import write_mp4
from ff_jax.pipeline.fix_event import shifted_view
from ff_jax.pipeline.fuse import finished, read_config, recorded_feed
from ff_jax.runtime.run_log import progress
from ff_jax.scene import Scene, edit, render_scene
from ff_jax.train.loop import count_needed, fitted

_RUN = flags.DEFINE_string("run", None, "Folder of a finished run.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder for the index of actors (actors.png) and the pictures.", required=True)
_REMOVE = flags.DEFINE_list("remove", [], "Actors to take away, by id.")
_MOVE = flags.DEFINE_multi_string("move", [], "ID:X,Y,Z[,DEGREES]: metres forward, left, up; turn to the left.")
_COPY = flags.DEFINE_multi_string("duplicate", [], "ID:X,Y,Z[,DEGREES]: a second one, moved like --move.")
_REPLACE = flags.DEFINE_multi_string("replace", [], "ID:OTHER: the look of another actor in the place of one.")
_SHIFT = flags.DEFINE_float("shift", 0.0, "Lateral shift of the camera in metres, left positive.")
_TILT = flags.DEFINE_float("tilt", 0.0, "Degrees by which the camera looks up.")
_VERSION = flags.DEFINE_enum("version", "Fused", ["Fused", "Reconstruction only"], "Which scene.")


def changes(names: tuple[str, ...]) -> list[Callable[[Scene], Scene]]:
    """Return the edits of the flags, in the order in which they are made.

    Args:
        names: of the actors that there are.

    Raises:
        ValueError: an actor is not among them, or a motion is wrong.
    """
    number = lambda name: _number(names, name)
    made = []
    for text in _REPLACE.value:
        name, _, other = text.partition(":")
        made.append(partial(edit.replace, actor=number(name), other=number(other)))
    for text in _MOVE.value:
        name, by, turn = _motion(text)
        made.append(partial(edit.move, actor=number(name), by=by, turn=turn))
    for text in _COPY.value:
        name, by, turn = _motion(text)
        made.append(partial(_copied, actor=number(name), by=by, turn=turn))
    return made + [partial(edit.remove, actor=number(name)) for name in _REMOVE.value]


def _copied(scene: Scene, actor: int, by: np.ndarray, turn: float) -> Scene:
    scene = edit.duplicate(scene, actor)
    return edit.move(scene, scene.tracks.sizes.shape[0] - 1, by, turn)


def _number(names: tuple[str, ...], name: str) -> int:
    if name not in names:
        raise ValueError(f"there is no actor {name!r}; there are {', '.join(names) or 'none'} (see actors.png).")
    return names.index(name)


def _motion(text: str) -> tuple[str, np.ndarray, float]:
    name, _, values = text.partition(":")
    try:
        x, y, z, *turn = (float(value) for value in values.split(","))
    except ValueError:
        raise ValueError(f"{text!r} is wrong: give ID:X,Y,Z or ID:X,Y,Z,DEGREES in metres and degrees.") from None
    return name, np.array([x, y, z]), float(np.deg2rad(turn[0])) if turn else 0.0


def main(_: list[str]) -> None:
    """Edit and render the run."""
    workdir, out = Path(_RUN.value), Path(_OUT.value)
    config = read_config(workdir)
    log = open_log(command_line.with_log_path(config).data, ())
    wanted = changes(recorded_feed(config, log).actors)  # a mistake is told before anything is restored
    feed, versions = finished(config, log, workdir)
    out.mkdir(parents=True, exist_ok=True)
    save_png(out / "actors.png", actor_sheet(log, feed.actors))
    version = versions[_VERSION.value]
    scene = reduce(lambda scene, change: change(scene), wanted, version.run.state.scene)
    tilt = float(np.deg2rad(_TILT.value))
    views = [shifted_view(frame, log.world_from_ego, _SHIFT.value, tilt) for frame in feed.frames]
    recipe = version.recipe
    settings = fitted(recipe.settings, count_needed(scene, views, recipe.settings))
    picture = jax.jit(render_scene, static_argnums=(2, 3))
    frames = [
        to_uint8(picture(scene, view, settings, recipe.recon.sh_degree).rgb) for view in progress(views, "rendering")
    ]
    for index, frame in enumerate(frames):
        save_png(out / f"{index:04d}.png", frame)
    write_mp4(out / "edited.mp4", frames, fps=10)
    print(f"{len(frames)} frames and actors.png in {out}")


if __name__ == "__main__":
    command_line.run(main)
