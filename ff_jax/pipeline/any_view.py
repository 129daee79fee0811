"""Render views of any size of a trained scene, with a renderer capacity that suffices for each."""

from collections.abc import MutableMapping

import jax

from ff_jax.render.renderer import RenderSettings
from ff_jax.scene import RenderedScene, SceneModel, View, render_scene
from ff_jax.train.loop import resize_capacity

_render = jax.jit(render_scene)


class ViewTooLargeError(ValueError):
    """A view needs more of the renderer's memory than allowed."""


def render_any(
    model: SceneModel,
    view: View,
    settings: MutableMapping[tuple[int, int], RenderSettings],
    *,
    max_intersections: int | None = None,
) -> tuple[SceneModel, RenderedScene]:
    """Render a view, and raise the capacity of the renderer if the view needs more.

    Args:
        model: the scene.
        view: the view, of any size.
        settings: those of every (width, height) that was rendered before; updated.
        max_intersections: tile intersections at which a view is refused.

    Returns:
        The scene with settings that suffice for the view, and the rendered view.

    Raises:
        ViewTooLargeError: the view needs more than `max_intersections`.
    """
    view, size = model.prepare(view), (view.camera.width, view.camera.height)
    model = model.replace(settings=settings.setdefault(size, model.settings))
    rendered = _render(model, view)
    count = int(rendered.num_intersections)
    if max_intersections is not None and count > max_intersections:
        raise ViewTooLargeError(
            f"the view needs {count} tile intersections, more than {max_intersections}: render a smaller image."
        )
    if count > model.settings.capacity:
        settings[size] = resize_capacity(model.settings, count)
        model = model.replace(settings=settings[size])
        rendered = _render(model, view)
    return model, rendered
