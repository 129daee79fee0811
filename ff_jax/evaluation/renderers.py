"""Renderers that can be scored: a trained scene, or a folder of images rendered by another program."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from ff_jax.data.file_names import natural_key
from ff_jax.data.lazy_arrays import read_image
from ff_jax.data.loader import load_image
from ff_jax.eig import Priors
from ff_jax.eig.scene_posterior import ScenePosterior, fit_posterior, render_with_eig
from ff_jax.evaluation.shifted_views import SKY, RenderArrays, Target
from ff_jax.render.renderer import expected_depth
from ff_jax.scene import SceneModel, View, render_scene
from ff_jax.train.batches import TrainBatches
from ff_jax.train.capacity import count_intersections, resize_capacity

SUFFIXES = (".png", ".jpg", ".jpeg")
_SAME_SHIFT = 0.02  # meters: shifts with a smaller difference are equal


class RenderedTarget(NamedTuple):
    """A render of one target view."""

    rgb: Float[np.ndarray, "H W 3"]  # [0, 1]
    depth: Float[np.ndarray, "H W"] | None = None  # camera z, meters; nan where there is no surface
    eig: Float[np.ndarray, "H W"] | None = None  # nats


Renderer = Callable[[Target], RenderedTarget]


class EigRenderer(NamedTuple):
    """A trained scene that renders any view with its EIG map."""

    model: SceneModel
    posterior: ScenePosterior

    @property
    def models_actors(self) -> bool:
        """Return whether the scene has actors."""
        return self.model.scene.tracks is not None

    def render(self, view: View) -> RenderArrays:
        """Render a view; colors are clipped to [0, 1]."""
        out = render_with_eig(self.model, self.posterior, view)
        return RenderArrays(np.clip(np.asarray(out.rgb), 0, 1), np.asarray(out.eig), np.asarray(out.depth))


def eig_renderer(model: SceneModel, batches: TrainBatches, priors: Priors, views: Sequence[View]) -> EigRenderer:
    """Prepare a scene to render `views` with EIG: reserve capacity, and compute the posterior.

    Args:
        model: the scene.
        batches: the recorded frames.
        priors: before any view was observed.
        views: the views that will be rendered.
    """
    settings = resize_capacity(model.settings, count_intersections(model.scene, views, model.settings))
    model = model.replace(settings=settings)
    return EigRenderer(model, fit_posterior(model, batches, priors))


def scene_renderer(scene: EigRenderer) -> Renderer:
    """Make a renderer of a trained scene, with depth and EIG."""

    def render(target: Target) -> RenderedTarget:
        out = scene.render(target.view)
        return RenderedTarget(out.rgb, np.where(out.depth < SKY, out.depth, np.nan), out.eig)

    return render


def plain_renderer(model: SceneModel, views: Sequence[View]) -> Renderer:
    """Make a renderer of a trained scene, with depth and without EIG: it needs no posterior.

    Args:
        model: the scene.
        views: the views that will be rendered, for the renderer's capacity.
    """
    settings = resize_capacity(model.settings, count_intersections(model.scene, views, model.settings))
    model = model.replace(settings=settings)

    def render(target: Target) -> RenderedTarget:
        rgb, depth = map(np.asarray, _render(model, model.prepare(target.view)))
        return RenderedTarget(rgb, np.where(depth < SKY, depth, np.nan))

    return render


@jax.jit
def _render(model: SceneModel, view: View) -> tuple[Float[Array, "H W 3"], Float[Array, "H W"]]:
    out = render_scene(model, view)
    return jnp.clip(out.rgb, 0.0, 1.0), expected_depth(out.depth, out.alpha)


def true_renderer(target: Target) -> RenderedTarget:
    """Return the true image of a view: the best possible score.

    Raises:
        ValueError: there is no true image.
    """
    if not target.has_truth:
        raise ValueError(f"there is no true image at a shift of {target.shift:+.2f}: ask for other shifts.")
    return RenderedTarget(load_image(target.frame))


def folder_renderer(folder: Path, targets: Sequence[Target]) -> Renderer:
    """Make a renderer that reads the images of another program.

    The folder contains one folder per shift, named by meters to the left ("3", "+3.00m", "-0.53m"); that contains the
    images of the views in order of time, by the numbers in their names, or, if there are several cameras, one
    folder of images per camera.

    Args:
        folder: contains the images.
        targets: all views at the shifts to score, in the order of `shifted_views.targets`.

    Raises:
        ValueError: a shift has no folder, or the number of its images differs from that of its views.
    """
    folders = _shift_folders(folder)
    paths = {}
    for shift in sorted({target.shift for target in targets}):
        shift_folder = next((path for value, path in folders.items() if abs(value - shift) < _SAME_SHIFT), None)
        if shift_folder is None:
            shifts = ", ".join(f"{value:g}" for value in sorted(folders)) or "none"
            raise ValueError(
                f"{folder} has no folder for a shift of {shift:g} (it has {shifts}): create {shift:+.2f}m."
            )
        group = [target for target in targets if target.shift == shift]
        cameras = list(dict.fromkeys(target.frame.camera for target in group))
        for camera in cameras:
            views = [target for target in group if target.frame.camera == camera]
            camera_folder = shift_folder if len(cameras) == 1 else shift_folder / camera
            files = _images(camera_folder)
            if len(files) != len(views):
                raise ValueError(
                    f"{camera_folder} contains {len(files)} images for {len(views)} views at a shift of {shift:+.2f}: "
                    "expected one image per view, in order of time."
                )
            paths |= {_key(view): path for view, path in zip(views, files, strict=True)}
    return lambda target: _read(paths[_key(target)], target)


def first_width(folder: Path) -> int:
    """Read the width in pixels of the first image of a folder of renders.

    Raises:
        ValueError: there is no image.
    """
    files = [path for shift_folder in _shift_folders(folder).values() for path in _images(shift_folder, "**/*")]
    if not files:
        raise ValueError(f"{folder} contains no images in folders named by a shift in meters, such as +3.00m.")
    return read_image(files[0]).shape[1]


def _key(target: Target) -> tuple[float, str, int]:
    return target.shift, target.frame.camera, target.frame.time_index


def _shift_folders(folder: Path) -> dict[float, Path]:
    """List the folders whose name is a number of meters."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: expected one that contains rendered images.")
    folders = {}
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        try:
            folders[float(path.name.removesuffix("m"))] = path
        except ValueError:
            continue
    return folders


def _images(folder: Path, pattern: str = "*") -> list[Path]:
    paths = (path for path in folder.glob(pattern) if path.suffix.lower() in SUFFIXES)
    return sorted(paths, key=natural_key)


def _read(path: Path, target: Target) -> RenderedTarget:
    image = read_image(path)
    width, height = target.frame.width, target.frame.height
    if image.shape[:2] != (height, width):
        raise ValueError(
            f"{path} is {image.shape[1]} x {image.shape[0]} pixels, but the log's images are {width} x {height}: "
            "render at that size, or scale the log to the width of the renders (--width)."
        )
    return RenderedTarget(image)
