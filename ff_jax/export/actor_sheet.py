"""Draw an index of the actors of a scene: one picture each, with id and class."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from ff_jax.data.boxes import project_boxes
from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import Box, Frame, SceneData, boxes_at
from ff_jax.export.figures import contact_sheet

SIZE = (240, 160)  # pixels of one picture
NUM_COLUMNS = 5
MARGIN = 0.25  # of the box, on every side


def actor_sheet(log: SceneData, names: Sequence[str]) -> UInt8[np.ndarray, "H W 3"]:
    """Draw a contact sheet of tracks, each cut from the recorded image where it is largest.

    Args:
        log: the driving log.
        names: track ids, in the order of actor numbers.

    Raises:
        ValueError: `names` is empty.
    """
    if not names:
        raise ValueError(f"log {log.name!r} has no actors: no labeled box moves.")
    pictures, labels = [], []
    for number, name in enumerate(names):
        picture, category = _largest(log, name)
        pictures.append(picture)
        labels.append(f"{number}: {name} ({category})")
    rows = [range(i, min(i + NUM_COLUMNS, len(names))) for i in range(0, len(names), NUM_COLUMNS)]
    sheets = [contact_sheet([[pictures[i] for i in row]], [labels[i] for i in row], width=SIZE[0]) for row in rows]
    widest = max(sheet.shape[1] for sheet in sheets)
    return np.concatenate(
        [np.pad(sheet, ((0, 0), (0, widest - sheet.shape[1]), (0, 0)), constant_values=255) for sheet in sheets]
    )


def _largest(log: SceneData, name: str) -> tuple[Float[np.ndarray, "h w 3"], str]:
    """Crop the largest image of a track from the recorded images; also return its class."""
    best, area, category = None, 0.0, "?"
    for frame in log.frames:
        for box in (box for box in boxes_at(log, frame.time_index) if box.track_id == name):
            category, rectangle = box.category, _rectangle(frame, box)
            size = (rectangle[2] - rectangle[0]) * (rectangle[3] - rectangle[1])
            if size > area:
                best, area = (frame, rectangle), size
    if best is None:
        return np.full((SIZE[1], SIZE[0], 3), 0.5, np.float32), category
    frame, (left, top, right, bottom) = best
    image = Image.fromarray((load_image(frame) * 255).round().astype(np.uint8))
    cut = image.crop((int(left), int(top), int(right) + 1, int(bottom) + 1))
    return np.asarray(cut.resize(SIZE, Image.Resampling.BICUBIC), np.float32) / 255, category


def _rectangle(frame: Frame, box: Box) -> Float[np.ndarray, "4"]:
    """Compute left, top, right, bottom (pixels) around a box with a margin; no area if it is outside the image."""
    projected = project_boxes(
        box.world_from_object[None], box.size[None], frame.K, frame.world_from_camera, frame.width, frame.height
    )
    if not projected.partly_inside[0]:
        return np.zeros(4)
    low, high = projected.hulls[0].reshape(2, 2)
    margin = MARGIN * (high - low)
    return np.clip([low - margin, high + margin], 0, [frame.width - 1, frame.height - 1]).reshape(4)
