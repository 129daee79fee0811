"""Start from the scene of Gaussians in a file (PLY, or another format of `export.formats`), and write such files.

The setting `init.scene` is `PATH` or `PATH?option=value&...`:

antialiased  yes or no: whether opacity was compensated for the dilation on the screen; else a comment of the file
             decides, and without one it was not
transform    JSON file with `transform` (3x4 or 4x4) and `scale` (1 by default): coordinates of the file are `scale`
             times the transformed coordinates of the log; "none" ignores the one beside the file
world        yes: coordinates are those of the world of the opened log, which may be moved, and scaled to meters

Else coordinates of the file are those of the files of the log, changed by the comment of `write_scene`, or by the file
`dataparser_transforms.json` of Nerfstudio beside it.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl

import numpy as np
from jaxtyping import Float

from ff_jax.data.formats.nerfstudio import applied_transform
from ff_jax.data.scene_data import SceneData
from ff_jax.data.similarity import is_similarity
from ff_jax.export.formats.files import read_gaussians, read_gaussians_header
from ff_jax.export.formats.splats import SplatHeader, StoredSplats, render_mode
from ff_jax.pipeline.config import FuseConfig
from ff_jax.runtime.untrusted_files import UnreadableFileError, read_json_object
from ff_jax.scene.appearance import appearance_file
from kernels import SH_BAND

OPTIONS = ("antialiased", "transform", "world")
DATAPARSER = "dataparser_transforms.json"  # of Nerfstudio: from coordinates before `applied_transform` to its own
COMMENT = "log_from_scene:"  # then a 4x4 matrix, row by row, from the coordinates of the file to those of the log

Array = np.ndarray


class SceneFile(NamedTuple):
    """A file of Gaussians, and what its options say."""

    path: Path
    antialiased: bool | None = None  # None: the file decides
    transform: Path | None = None  # None: the one beside the file, if there is one
    use_transform: bool = True
    is_world: bool = False


def parse_scene_file(text: str) -> SceneFile:
    """Parse the setting `init.scene`.

    Raises:
        ValueError: it has an unknown option, or an option has an unknown value.
    """
    location, _, query = text.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name, value in options.items():
        if name not in OPTIONS:
            raise ValueError(f"invalid option {name!r} of {location}: expected one of {', '.join(OPTIONS)}.")
        if name != "transform" and value not in ("yes", "no"):
            raise ValueError(f"invalid ?{name}={value} of {location}: expected yes or no.")
    transform = options.get("transform", "")
    return SceneFile(
        path=Path(location),
        antialiased=options["antialiased"] == "yes" if "antialiased" in options else None,
        transform=Path(transform) if transform not in ("", "none") else None,
        use_transform=transform != "none",
        is_world=options.get("world") == "yes",
    )


def with_scene_file(config: FuseConfig) -> FuseConfig:
    """Fit the settings to the scene of `init.scene`; without one they stay.

    Without a training step the colors keep their degree, so that the scene goes out as it came in. Actors are not
    modeled: the file holds one static scene, and what moves is masked out of training.

    Raises:
        ValueError: there is no such file, it has no usable Gaussians, or more than `recon.budget`.
    """
    if not config.init.scene:
        return config
    file = parse_scene_file(config.init.scene)
    header = read_gaussians_header(file.path)
    if header.count < 1:
        raise UnreadableFileError(f"{file.path} holds no Gaussians; use another file.")
    if header.count > config.recon.budget:
        raise ValueError(
            f"{file.path} holds {header.count} Gaussians, more than recon.budget={config.recon.budget}: "
            f"set --config.recon.budget={header.count} or more."
        )
    stored = read_gaussians(file.path)
    if stored.gaussians.count == 0:
        raise UnreadableFileError(f"{file.path} holds no Gaussians with finite values; use another file.")
    _report(file, header, stored)
    degree = max(config.recon.sh_degree if config.steps else 0, header.sh_degree)
    antialiased = header.antialiased if file.antialiased is None else file.antialiased
    return replace(
        config,
        recon=replace(config.recon, sh_degree=degree, first_sh_degree=used_degree(stored.gaussians.sh)),
        render=replace(config.render, antialiased=antialiased),
        actors=replace(config.actors, slots=0),
    )


def used_degree(sh: Float[Array, "N K 3"]) -> int:
    """Find the highest band of spherical harmonics with a coefficient that is not 0."""
    bands = np.array(SH_BAND[: sh.shape[1]])
    return int(bands[(sh != 0).any((0, 2))].max(initial=0))


def from_points(config: FuseConfig) -> FuseConfig:
    """Start from points instead, as a reconstruction from a part of the frames does: a file has seen all of them."""
    recon = replace(config.recon, first_sh_degree=0)
    return replace(config, init=replace(config.init, scene=""), recon=recon)


def world_from_scene(file: SceneFile, header: SplatHeader, log: SceneData, source: str) -> Float[Array, "4 4"]:
    """Find the similarity from the coordinates of a file of Gaussians to the world of a log.

    Args:
        file: the file.
        header: its header.
        log: the opened log.
        source: of the log, as in `DataConfig`: its folder may say what Nerfstudio did to coordinates before.

    Raises:
        ValueError: a transform is damaged.
    """
    if file.is_world:
        return np.eye(4)
    beside = file.path.parent / DATAPARSER
    comment = next((c for c in reversed(header.comments) if c.startswith(COMMENT)), None)
    if file.transform is None and comment is not None and file.use_transform:
        log_from_scene = _parse_comment(comment, file.path)
    elif file.transform is not None or (file.use_transform and beside.is_file()):
        log_from_scene = _log_from_scene(file.transform or beside, Path(source.partition("?")[0]))
    else:
        log_from_scene = np.eye(4)
    result = log.world_from_files @ log_from_scene
    if not is_similarity(result):
        raise UnreadableFileError(f"{source}: applied_transform is no similarity; correct it.")
    return np.eye(4) if np.allclose(result, np.eye(4), rtol=0, atol=1e-9) else result  # the identity changes no bit


def scene_comments(world_from_scene: Float[Array, "4 4"], log: SceneData, *, antialiased: bool) -> list[str]:
    """Make the lines of the header that say how a scene is rendered, and where it is.

    Args:
        world_from_scene: from the coordinates of the file to the world of the log.
        log: the opened log.
        antialiased: whether opacity is compensated for the dilation on the screen.
    """
    matrix = np.linalg.inv(log.world_from_files) @ world_from_scene
    comments = [render_mode(antialiased)]
    if not np.array_equal(matrix, np.eye(4)):
        comments.append(f"{COMMENT} {' '.join(repr(float(value)) for value in matrix.ravel())}")
    return comments


def _parse_comment(comment: str, path: Path) -> Float[Array, "4 4"]:
    try:
        matrix = np.array([float(word) for word in comment.removeprefix(COMMENT).split()]).reshape(4, 4)
    except ValueError:
        matrix = np.zeros((4, 4))
    if not is_similarity(matrix):
        raise UnreadableFileError(f"{path}: its comment {COMMENT} is no similarity; use ?transform=none to ignore it.")
    return matrix


def _log_from_scene(path: Path, source: Path) -> Float[Array, "4 4"]:
    """Read a transform, and invert it."""
    content, matrix = read_json_object(path), np.eye(4)
    try:
        rows = np.array(content["transform"], float)
        matrix[: len(rows)] = float(content.get("scale", 1.0)) * rows
        matrix[3] = 0, 0, 0, 1
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableFileError(f"{path}: has no transform of 3 x 4 numbers and scale ({error}); add it.") from error
    if not is_similarity(matrix):
        raise UnreadableFileError(f"{path}: transform and scale are no similarity; correct them.")
    applied = applied_transform(source) if path.name == DATAPARSER else np.eye(4)
    return applied @ np.linalg.inv(matrix)


def _report(file: SceneFile, header: SplatHeader, stored: StoredSplats) -> None:
    """Warn of Gaussians that are left out, and of what was assumed where the file does not tell it."""
    logger = logging.getLogger(__name__)
    if stored.dropped:
        text = "%s: %d of %d Gaussians have values that are not finite and are left out."
        logger.warning(text, file.path, stored.dropped, header.count)
    assumed = []
    if file.antialiased is None and not any("antialiased" in c or "rendermode" in c.lower() for c in header.comments):
        assumed.append("it was trained without anti-aliasing (else ?antialiased=yes)")
    if not appearance_file(file.path).is_file():
        assumed.append("its background is black")
    if assumed:
        logger.warning("%s: assuming that %s.", file.path, " and ".join(assumed))
