"""Write scenes for other tools, in the format that the suffix of the file names."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from ff_jax.data.scene_data import SceneData
from ff_jax.export.formats.files import (
    holds_nodes,
    read_gaussians,
    read_gaussians_header,
    suffix_of,
    write_gaussians,
    write_nodes,
)
from ff_jax.export.formats.splats import render_mode, select_alive
from ff_jax.export.ply import into_slots
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.loaded_scene import LoadedScene, load_scene
from ff_jax.pipeline.scene_file import scene_comments
from ff_jax.pipeline.scene_nodes import scene_nodes
from ff_jax.render.gaussians import GaussianArrays, on_host
from ff_jax.render.similarity import moved
from ff_jax.scene import SceneModel, compose
from ff_jax.scene.appearance import appearance_file, write_appearance

Array = np.ndarray


def save_scene(path: str | Path, model: SceneModel, time: float = 0.0) -> None:
    """Write the Gaussians of a scene at `time` (seconds) for other tools, and its sky beside.

    Coordinates are those of the world of the log.

    Args:
        path: of the file; its suffix names the format (`export.formats`).
        model: the scene.
        time: seconds; formats that hold nodes have the motion of actors at all times.

    Raises:
        ValueError: no format has the suffix.
        MissingPackageError: an optional package is missing.
    """
    comments = [render_mode(model.settings.antialiased)]
    if holds_nodes(path):
        write_nodes(path, scene_nodes(model.scene, time=time), comments)
    else:
        world = jax.jit(compose)(model.scene, jnp.float32(time))
        write_gaussians(path, select_alive(world.gaussians, world.alive), comments)
    write_appearance(appearance_file(path), model.scene.params)


def write_scene(path: Path, model: SceneModel, config: FuseConfig, log: SceneData, names: Sequence[str] = ()) -> None:
    """Write the Gaussians of a scene at time 0, and its sky and exposures beside them.

    A scene that was loaded goes back to the coordinates of its file, and Gaussians that are as they were loaded are
    written bit by bit (as PLY); another scene is in the world of the log. Comments of the file name the coordinates,
    in formats that have them. Formats that hold nodes have the motion of actors, in the world of the log.

    Args:
        path: of the file; its suffix names the format.
        model: the scene.
        config: the settings of its run.
        log: its log.
        names: ids of its actors, for formats that hold nodes.
    """
    if holds_nodes(path):
        comments = scene_comments(np.eye(4), log, antialiased=config.render.antialiased)
        write_nodes(path, scene_nodes(model.scene, names), comments)
    else:
        _write_composed(path, model, config, log)
    write_appearance(appearance_file(path), model.scene.params, log.num_exposures)


def _write_composed(path: Path, model: SceneModel, config: FuseConfig, log: SceneData) -> None:
    """Write the Gaussians of all nodes where they are at time 0."""
    world = jax.jit(compose)(model.scene, jnp.float32(0))
    gaussians, alive, matrix = on_host(world.gaussians), np.asarray(world.alive), np.eye(4)
    if config.init.scene:
        loaded = load_scene(config, log)
        matrix = loaded.matrix
        gaussians = _in_file(gaussians, alive, loaded)
    comments = scene_comments(matrix, log, antialiased=config.render.antialiased)
    write_gaussians(path, select_alive(gaussians, alive), comments)


def convert_scene(source: Path, out: Path) -> int:
    """Write a file of Gaussians in another format, and its sky beside it; return the number of Gaussians.

    Raises:
        ValueError: no format has a suffix, or the source is missing or damaged.
    """
    suffix_of(out)  # fails before a large file is read
    header, stored = read_gaussians_header(source), read_gaussians(source)
    gaussians = GaussianArrays(*(values.astype(np.float32) for values in stored.gaussians))
    write_gaussians(out, gaussians, header.comments)
    sky, copy = appearance_file(source), appearance_file(out)
    if sky.is_file() and sky.resolve() != copy.resolve():
        shutil.copyfile(sky, copy)
    return gaussians.count


def _in_file(gaussians: GaussianArrays, alive: Bool[Array, "N"], loaded: LoadedScene) -> GaussianArrays:
    """Move Gaussians to the coordinates of the file, and take those that did not change from it."""
    sizes = len(alive), gaussians.sh.shape[1]
    before, stored = (on_host(into_slots(part, *sizes)) for part in (loaded.in_world, loaded.stored.gaussians))
    same = alive & (np.arange(len(alive)) < loaded.stored.gaussians.count)
    for now, then in zip(gaussians, before, strict=True):
        same &= (now == then).all(tuple(range(1, now.ndim)))
    pairs = zip(moved(gaussians, np.linalg.inv(loaded.matrix)), stored, strict=True)
    return GaussianArrays(*(np.where(same.reshape(-1, *[1] * (now.ndim - 1)), then, now) for now, then in pairs))
