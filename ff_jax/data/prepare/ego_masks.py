"""Masks of the own vehicle: the part of a camera's image that stays while the world passes, or outlines of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw
from scipy import ndimage

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.scene_data import Frame, SceneData

LOOKS = 24  # frames of a camera, spread over time
STILL = 0.025  # median absolute deviation of a colour over time that paint, glass and noise stay below,
FLOOR = 2.2  # and multiple of what the stillest 2 % of the pixels show: the camera's own noise
TEXTURE = 4.0  # pixels: how far a window looks that decides whether what stays is more than flat road
SMALLEST = 0.004  # share of the image below which nothing is masked

Polygon = Sequence[Sequence[float]]  # corners (x, y)


def with_ego_masks(scene: SceneData) -> SceneData:
    """Return the log with the own vehicle taken out of every frame's "valid" mask, one mask for each camera.

    Images are read once for each camera, as recorded (before undistortion).

    Raises:
        ValueError: a camera has fewer than 4 frames.
    """
    masks = {camera: ego_mask([f for f in scene.frames if f.camera == camera]) for camera in scene.cameras}
    return replace(scene, frames=tuple(_without(frame, masks[frame.camera]) for frame in scene.frames))


def with_outlines(scene: SceneData, outlines: Mapping[str, Sequence[Polygon]]) -> SceneData:
    """Return the log with outlined parts of the own vehicle taken out of every frame's "valid" mask.

    Paint and glass that mirror the world are not still, so `ego_mask` cannot find them.

    Args:
        scene: the log; images as recorded (before undistortion).
        outlines: by camera: polygons whose corners (x, y) are shares of the image's width and height. Other cameras
            keep their masks.

    Raises:
        ValueError: there is no such camera, or a polygon is none.
    """
    for camera, polygons in outlines.items():
        if camera not in scene.cameras:
            raise ValueError(f"scene {scene.name!r} has no camera {camera!r}; it has {', '.join(scene.cameras)}.")
        for polygon in polygons:
            if np.ndim(polygon) != 2 or np.shape(polygon)[1] != 2 or len(polygon) < 3:
                raise ValueError(f"an outline of {camera} is {polygon!r}: give 3 or more corners, each two numbers.")
    frames = (_without(f, outlined(outlines.get(f.camera, ()), f.width, f.height)) for f in scene.frames)
    return replace(scene, frames=tuple(frames))


def outlined(polygons: Sequence[Polygon], width: int, height: int) -> Bool[np.ndarray, "{height} {width}"]:
    """Return the pixels inside any polygon; corners as in `with_outlines`."""
    mask = Image.new("1", (width, height))
    for polygon in polygons:
        # A pixel belongs to a polygon if its centre does, and the drawing counts from the centre of the first one.
        ImageDraw.Draw(mask).polygon([(x * width - 0.5, y * height - 0.5) for x, y in polygon], fill=1)
    return np.asarray(mask)


def _without(frame: Frame, own: Bool[np.ndarray, "H W"]) -> Frame:
    """Return the frame with the pixels of the own vehicle no longer valid."""
    if not own.any():
        return frame
    valid = frame.masks.get("valid")
    compute = lambda: (~own).astype(np.float32) * (1.0 if valid is None else valid.load())
    source = Source(f"own vehicle in {frame.camera}", compute)
    return replace(frame, masks={**frame.masks, "valid": source})


def ego_mask(frames: list[Frame]) -> Bool[np.ndarray, "H W"]:
    """Return the pixels that show the own vehicle: still over time, and connected to the bottom of the image.

    A road without texture is still too, where the vehicle moves straight on; it flickers a little more than paint
    and its neighbourhood does, so both a pixel and its surroundings must stay.

    Raises:
        ValueError: there are fewer than 4 frames.
    """
    if len(frames) < 4:
        raise ValueError(
            f"{len(frames)} frame(s) cannot tell the own vehicle from the world; give 4 or more, or outlines."
        )
    picked = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, LOOKS).round().astype(int))]
    spread = _deviation(np.stack([frame.image.load() for frame in picked]))
    still = spread < min(STILL, FLOOR * np.percentile(spread, 2))
    labels, _ = ndimage.label(ndimage.binary_opening(still, np.ones((3, 3))))
    bottom = np.unique(labels[-2:])
    mask = ndimage.binary_fill_holes(np.isin(labels, bottom[bottom > 0]))
    return mask if mask.mean() >= SMALLEST else np.zeros_like(mask)


def _deviation(images: Float[np.ndarray, "T H W 3"]) -> Float[np.ndarray, "H W"]:
    """Return the largest, over a small window, of the median absolute deviation over time."""
    spread = np.median(np.abs(images - np.median(images, 0)), 0).max(-1)
    return ndimage.percentile_filter(spread, 80, size=round(TEXTURE) * 2 + 1)
