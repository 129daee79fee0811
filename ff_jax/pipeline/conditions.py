"""Condition images of views, for fixers that name them: the one place that makes them, from any log with the data.

LiDAR: the sweeps of the time steps around that of a view, colored from recorded frames of their own time step. Boxes
and lanes: lines of the labels. Opacity: of the render. Where a log has no such data, the condition counts as left out.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, UInt8

from ff_jax.data.points.colored import WINDOW, ColoredSweep, colored_sweep, draw_sweeps
from ff_jax.data.recording import Recording
from ff_jax.data.scene_data import Frame, boxes_at
from ff_jax.fixers.conditions import CHANNELS
from ff_jax.fixers.one_step import REPAIRED
from ff_jax.pipeline.canvases import draw_boxes, draw_lanes
from ff_jax.scene import SceneModel, View, render_scene

_SWEEPS = 32  # colored sweeps in memory: consecutive views share most of theirs

Image = Float[np.ndarray, "H W C"]


def make_conditions(
    names: Sequence[str],
    recording: Recording,
    frames: Sequence[Frame],
    views: Sequence[View],
    model: SceneModel,
    lags: Sequence[int] | None = None,
) -> dict[str, UInt8[np.ndarray, "T H W _"]]:
    """Make condition images as bytes, with the channels of `fixers.conditions.CHANNELS` and a last one.

    Args:
        names: of the conditions; "repaired" is left to `fixers.one_step`.
        recording: its sweeps and its frames are those that may be used.
        frames: the views as frames, recorded or moved, of one image size.
        views: the same.
        model: the scene, for the opacity.
        lags: time steps from each view to the sweeps around which its LiDAR condition is made; None: 0.
    """
    log = recording.log
    draw: dict[str, Callable[[Frame, View, int], Image | None]] = {
        "lidar": lambda frame, _, lag: _lidar(recording, frame, lag),
        "boxes": lambda frame, *_: draw_boxes(boxes_at(log, frame.time_index), frame) if log.boxes else None,
        "lanes": lambda frame, *_: draw_lanes(log.lanes, frame) if log.lanes else None,
        "opacity": lambda _, view, __: np.asarray(_opacity(model, model.prepare(view)))[..., None],
    }
    rows = list(zip(frames, views, lags or [0] * len(frames), strict=True))
    drawn = [name for name in names if name != REPAIRED]
    return {name: np.stack([_stored(draw[name](*row), name, row[0]) for row in rows]) for name in drawn}


def _lidar(recording: Recording, frame: Frame, lag: int) -> Float[np.ndarray, "H W 4"] | None:
    if not recording.sweeps:
        return None
    middle = frame.time_index + lag
    times = [time for time in range(middle - WINDOW, middle + WINDOW + 1) if 0 <= time < len(recording.log.times)]
    return draw_sweeps([_colored(recording, time) for time in times], boxes_at(recording.log, frame.time_index), frame)


@functools.lru_cache(_SWEEPS)
def _colored(recording: Recording, time_index: int) -> ColoredSweep:
    return colored_sweep(recording.visible_log, time_index)


@jax.jit
def _opacity(model: SceneModel, view: View) -> Float[Array, "H W"]:
    return render_scene(model, view).alpha


def _stored(image: Image | None, name: str, frame: Frame) -> UInt8[np.ndarray, "H W _"]:
    """Convert an image to bytes and append the channel that says that it is given; None is left out."""
    if image is None:
        return np.zeros((frame.height, frame.width, CHANNELS[name] + 1), np.uint8)
    image = np.pad(image, ((0, 0), (0, 0), (0, 1)), constant_values=1)
    return np.rint(255 * np.clip(image, 0.0, 1.0)).astype(np.uint8)
