"""Keep the paths of a log inside its folder: a log is not trusted to name other files of the machine."""

import os
from pathlib import Path

from ff_jax.data.scene_data import SceneData
from ff_jax.runtime.untrusted_files import reason

_MAX_PART, _MAX_PATH = 255, 3000  # bytes


def inside(folder: Path, name: object) -> Path:
    """Resolve a name that a file of a log holds; symbolic links are followed, and must end below `folder`.

    Raises:
        ValueError: the name is no text, absolute, or leads out of the folder.
    """
    # An absolute name replaces the folder, and is refused unless it leads back into it.
    if not isinstance(name, str) or not _is_possible(name) or not is_below(folder, folder / name):
        raise ValueError(f"{reason(repr(name))} is not a path below the folder {folder}; use a path relative to it")
    return folder / name


def is_file_inside(folder: Path, name: str) -> bool:
    """Test whether a name that a file of a log holds is that of a file below its folder."""
    return _is_possible(name) and is_below(folder, folder / name) and (folder / name).is_file()


def _is_possible(name: str) -> bool:
    """Test whether a file can have this name: the operating system bounds every part, and the whole."""
    try:
        path = os.fsencode(name)
    except UnicodeEncodeError:  # half a character
        return False
    return path != b"" and b"\0" not in path and len(path) <= _MAX_PATH and max(map(len, path.split(b"/"))) <= _MAX_PART


def is_below(folder: Path, path: Path) -> bool:
    """Test whether `path`, with symbolic links followed, is below `folder`."""
    # realpath, not Path.resolve: the latter raises a RuntimeError for links in a circle.
    return os.path.realpath(path).startswith(os.path.realpath(folder).rstrip(os.sep) + os.sep)


def check_scene_files(scene: SceneData, folder: Path) -> None:
    """Check that every image, mask and point file of a log is below its folder.

    Raises:
        ValueError: one is not.
    """
    sources = [source for frame in scene.frames for source in (frame.image, *frame.masks.values())]
    for source in (*sources, *(sweep.points for sweep in scene.sweeps)):
        path = getattr(source, "path", None)
        if isinstance(path, Path) and not is_below(folder, path):
            target = os.path.realpath(path)
            raise ValueError(f"{path} leads to {target}, outside of {folder}; copy the file into the folder.")
