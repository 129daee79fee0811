"""Render views of any size of a trained scene, with a renderer capacity that suffices for each."""

from collections.abc import MutableMapping

import jax

from ff_jax.render.renderer import RenderSettings
from ff_jax.scene import RenderedScene, SceneModel, View, render_scene
from ff_jax.train.capacity import resize_capacity

SizeSettings = MutableMapping[tuple[int, int], RenderSettings]  # by (width, height) of the views rendered before

_render = jax.jit(render_scene)


class ViewTooLargeError(ValueError):
    """A view needs more of the renderer's memory than allowed."""


def render_any(
    model: SceneModel, view: View, settings: SizeSettings, *, max_intersections: int | None = None
) -> tuple[SceneModel, RenderedScene]:
    """Render a view, and raise the capacity of the renderer if the view needs more.

    Args:
        model: the scene.
        view: the view, of any size.
        settings: those of every size that was rendered before; updated.
        max_intersections: tile intersections at which a view is refused.

    Returns:
        The scene with settings that suffice for the view, and the rendered view.

    Raises:
        ViewTooLargeError: the view needs more than `max_intersections`.
    """
    model, view = with_settings(model, view, settings)
    rendered = _render(model, view)
    if raise_capacity(view, settings, int(rendered.num_intersections), max_intersections):
        model, view = with_settings(model, view, settings)
        rendered = _render(model, view)
    return model, rendered


def with_settings(model: SceneModel, view: View, settings: SizeSettings) -> tuple[SceneModel, View]:
    """Give a scene the settings of the size of a view; return it with the view, ready for a compiled program."""
    size = view.camera.width, view.camera.height
    return model.replace(settings=settings.setdefault(size, model.settings)), model.prepare(view)


def raise_capacity(view: View, settings: SizeSettings, count: int, max_intersections: int | None = None) -> bool:
    """Raise the capacity for the size of a view if it has more tile intersections; return whether it was raised.

    Args:
        view: the view, rendered before.
        settings: as in `render_any`; updated.
        count: tile intersections of the view.
        max_intersections: at which the view is refused.

    Raises:
        ViewTooLargeError: the view needs more than `max_intersections`.
    """
    if max_intersections is not None and count > max_intersections:
        raise ViewTooLargeError(
            f"the view needs {count} tile intersections, more than {max_intersections}: render a smaller image."
        )
    size = view.camera.width, view.camera.height
    if count <= settings[size].capacity:
        return False
    settings[size] = resize_capacity(settings[size], count)
    return True
