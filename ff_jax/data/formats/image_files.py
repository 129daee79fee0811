"""Find the images that a log names: copies of another size, paths of another machine, names of another system."""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from ff_jax.data.file_names import IMAGE_SUFFIXES
from ff_jax.data.formats.posed_photos import Photo
from ff_jax.data.lazy_arrays import image_size
from ff_jax.data.lenses import Lens
from ff_jax.data.paths import inside, is_below

FOLDERS = ("images", "input")  # that hold the images of a log; the second is that of 3DGS for distorted ones
COPIES = re.compile(r"images_\d+")  # folders of smaller copies
OTHERS = re.compile(r"(mask|depth|normal|semantic|segment|label)", re.IGNORECASE)  # folders of files named as images
MAX_FILES = 1_000_000  # that are looked at

_logger = logging.getLogger(__name__)
_Place = tuple[int, str]  # leading parts that names have too many, and the folder of the others


def find_images(root: Path, names: Sequence[str], folders: Sequence[Path]) -> dict[str, Path]:
    """Find the files of images; those that are nowhere get the place where they are expected.

    Images are where the log says. Where one is missing, its name may be written in another case or with another suffix;
    where all are missing, their paths may be those of another machine, or only smaller copies may be there.

    Args:
        root: folder of the log.
        names: paths that the log gives, with slashes.
        folders: that the paths may be relative to; the one with the most images is taken.

    Raises:
        ValueError: a path leads out of the log, and nothing there has its name.
    """
    base = max(folders, key=lambda folder: sum(_is_file(root, folder, name) for name in names))
    found = {name: base / name for name in names if _is_file(root, base, name)}
    missing = [name for name in names if name not in found]
    if missing and found:
        found |= _renamed(base, missing)
    elif missing:
        found = _elsewhere(root, missing)
    changed = [
        name for name, file in found.items() if PurePosixPath(name).suffix.lower() not in ("", file.suffix.lower())
    ]
    if changed:
        file = found[changed[0]]
        _logger.warning(
            "%s: %d images have another suffix than they are named with (%s).", root, len(changed), file.name
        )
    return {name: found.get(name) or inside(base, name) for name in names}


def resized(photos: Sequence[Photo]) -> list[Photo]:
    """Scale the lenses of photographs whose files are copies of another size.

    The first file of each size and folder tells the factor, and validation looks at the others.
    """
    factors: dict[tuple, tuple[int, int] | None] = {}
    result = []
    for photo in photos:
        key = photo.width, photo.height, photo.file.parent
        if key not in factors and photo.file.is_file():
            factors[key] = _copy_size(photo)
        size = factors.get(key)
        result.append(photo if size is None else _scaled(photo, size))
    for (width, height, folder), size in factors.items():
        if size is not None:
            text = "%s: images are %d x %d, not %d x %d: the lens is scaled by %.4g."
            _logger.warning(text, folder, *size, width, height, size[0] / width)
    return result


def _copy_size(photo: Photo) -> tuple[int, int] | None:
    """Read the size of a file; None if it is as the log says, or not a copy of the same shape."""
    try:
        size = image_size(photo.file)
    except ValueError:
        return None  # validation names the file
    factor = size[0] / max(photo.width, 1)
    is_same = size == (photo.width, photo.height)
    return None if is_same or abs(photo.height * factor - size[1]) > max(factor, 1) else size


def _scaled(photo: Photo, size: tuple[int, int]) -> Photo:
    K = photo.lens.K.copy()
    K[0] *= size[0] / photo.width
    K[1] *= size[1] / photo.height
    return photo._replace(lens=Lens(K, photo.lens.distortion), width=size[0], height=size[1])


def _is_file(root: Path, base: Path, name: str) -> bool:
    return (base / name).is_file() and is_below(root, base / name)


def _key(name: str) -> str:
    """Make the key of the last part of a path: without its case and the suffix of an image."""
    stem, suffix = os.path.splitext(name)
    return (stem if suffix.lower() in IMAGE_SUFFIXES else name).casefold()


def _renamed(base: Path, names: Sequence[str]) -> dict[str, Path]:
    """Find images in their folder under a name of another case or suffix."""
    listed: dict[Path, dict[str, list[Path]]] = {}
    found = {}
    for name in names:
        folder = (base / name).parent
        if folder not in listed:
            listed[folder] = {}
            for file in folder.iterdir() if folder.is_dir() else ():
                if file.suffix.lower() in IMAGE_SUFFIXES:
                    listed[folder].setdefault(_key(file.name), []).append(file)
        files = listed[folder].get(_key(PurePosixPath(name).name), [])
        if len(files) == 1:
            found[name] = files[0]
    return found


def _elsewhere(root: Path, names: Sequence[str]) -> dict[str, Path]:
    """Find the folder of a log that has most of the images, some leading parts of their paths left out."""
    files: dict[str, list[tuple[str, ...]]] = {}
    for parts in _image_paths(root):
        files.setdefault(_key(parts[-1]), []).append(parts)
    places: Counter[_Place] = Counter()
    choices: dict[str, Mapping[_Place, Path]] = {}
    for name in names:
        wanted = [part.casefold() for part in PurePosixPath(name).parts]
        options = {}
        for parts in files.get(_key(wanted[-1]), ()):
            folders = [part.casefold() for part in parts[:-1]]
            shared = 0
            while shared < min(len(folders), len(wanted) - 1) and folders[-1 - shared] == wanted[-2 - shared]:
                shared += 1
            for kept in range(shared + 1):
                place = len(wanted) - 1 - kept, "/".join(parts[: len(parts) - 1 - kept])
                options[place] = root.joinpath(*parts)
        choices[name] = options
        places.update(options.keys())
    if not places:
        return {}
    best = min(places, key=lambda place: (-places[place], *_order(place)))
    if copies := [part for part in best[1].split("/") if COPIES.fullmatch(part)]:
        _logger.warning("%s: the images are missing; their copies in %s are read.", root, copies[-1])
    return {name: options[best] for name, options in choices.items() if best in options}


def _order(place: _Place) -> tuple:
    """Order folders that have as many images: fewer parts left out, the usual names, the larger copies."""
    last = place[1].split("/")[-1]
    copy = int(last.split("_")[1]) if COPIES.fullmatch(last) else 0
    usual = FOLDERS.index(last) if last in FOLDERS else len(FOLDERS) + copy
    return place[0], usual, place[1].count("/"), place[1]


def _image_paths(root: Path) -> Iterator[tuple[str, ...]]:
    """List the images of a folder as parts of their paths; links to folders are not followed."""
    count = 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not OTHERS.search(name))
        parts = Path(folder).relative_to(root).parts
        for name in names:
            count += 1
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                yield (*parts, name)
        if count > MAX_FILES:
            return
