"""What is scored: a trained scene, or a folder of images that any other program rendered."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ff_jax.data.lazy_arrays import read_image
from ff_jax.data.loader import load_image
from ff_jax.evaluation.shifted_views import SKY, Target
from ff_jax.pipeline.results import Shown

SUFFIXES = (".png", ".jpg", ".jpeg")
_SAME = 0.02  # metres: shifts closer than this are one


class Rendering(NamedTuple):
    """One view as a method shows it."""

    rgb: Float[np.ndarray, "H W 3"]  # [0, 1]
    depth: Float[np.ndarray, "H W"] | None = None  # camera z, metres; nan where nothing is
    eig: Float[np.ndarray, "H W"] | None = None  # nats


Renderer = Callable[[Target], Rendering]


def scene_renderer(scene: Shown) -> Renderer:
    """Return a renderer of a trained scene, with depth and EIG."""

    def render(target: Target) -> Rendering:
        rgb, gain, depth = scene.clip(target.view)
        return Rendering(rgb, np.where(depth < SKY, depth, np.nan), gain)

    return render


def true_renderer(target: Target) -> Rendering:
    """Show the true image of a view: what a perfect method would score.

    Raises:
        ValueError: no camera was there.
    """
    if not target.has_truth:
        raise ValueError(f"there is no true image {target.shift:+.2f} m beside the path: ask for other shifts.")
    return Rendering(load_image(target.frame))


def folder_renderer(folder: Path, targets: Sequence[Target]) -> Renderer:
    """Return a renderer that reads images another program has made.

    The folder holds one folder per shift, named by metres to the left ("3", "+3.00m", "-0.53m"); in it are the
    images of the views in order of time, or one folder of them per camera where there are several cameras.

    Args:
        folder: where the images are.
        targets: all views at the shifts that will be asked for, in the order of `evaluate.targets`.

    Raises:
        ValueError: a shift has no folder, or its images are not as many as its views.
    """
    named = _shift_folders(folder)
    paths = {}
    for shift in sorted({target.shift for target in targets}):
        place = next((path for value, path in named.items() if abs(value - shift) < _SAME), None)
        if place is None:
            there = ", ".join(f"{value:g}" for value in sorted(named)) or "none"
            raise ValueError(f"{folder} has no folder for a shift of {shift:g} m (there: {there}): make {shift:+.2f}m.")
        group = [target for target in targets if target.shift == shift]
        cameras = list(dict.fromkeys(target.frame.camera for target in group))
        for camera in cameras:
            views = [target for target in group if target.frame.camera == camera]
            inside = place if len(cameras) == 1 else place / camera
            files = _images(inside)
            if len(files) != len(views):
                raise ValueError(
                    f"{inside} holds {len(files)} images, but there are {len(views)} views at {shift:+.2f} m: give one "
                    "image per view, in order of time."
                )
            paths |= {_key(view): path for view, path in zip(views, files, strict=True)}
    return lambda target: _read(paths[_key(target)], target)


def first_width(folder: Path) -> int:
    """Return the width in pixels of the first image of a folder of renders.

    Raises:
        ValueError: there is no image.
    """
    files = [path for place in _shift_folders(folder).values() for path in _images(place, deep=True)]
    if not files:
        raise ValueError(f"{folder} holds no folder named by a shift in metres (such as +3.00m) with images in it.")
    return read_image(files[0]).shape[1]


def _key(target: Target) -> tuple[float, str, int]:
    return target.shift, target.frame.camera, target.frame.time_index


def _shift_folders(folder: Path) -> dict[float, Path]:
    """Return the folders whose name is a number of metres."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: name the one that holds the rendered images.")
    found = {}
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        try:
            found[float(path.name.removesuffix("m"))] = path
        except ValueError:
            continue
    return found


def _images(folder: Path, deep: bool = False) -> list[Path]:
    found = folder.rglob("*") if deep else folder.glob("*")
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES)


def _read(path: Path, target: Target) -> Rendering:
    image = read_image(path)
    wanted = (target.frame.height, target.frame.width)
    if image.shape[:2] != wanted:
        raise ValueError(
            f"{path} is {image.shape[1]} x {image.shape[0]} pixels, but the log's images are {wanted[1]} x {wanted[0]}:"
            " render at that size, or scale the log to the renders' width (--width)."
        )
    return Rendering(image)
