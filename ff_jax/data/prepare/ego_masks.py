"""Masks of the ego vehicle: the constant part of a camera's images, or outlines drawn by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Float32
from PIL import Image, ImageDraw
from scipy import ndimage

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.scene_data import Frame, SceneData

NUM_FRAMES = 24  # frames of a camera, spread over time
MAX_DEVIATION = 0.025  # median absolute deviation of a color over time: paint, glass and noise are below
NOISE_FACTOR = 2.2  # the same as a multiple of the deviation of the most constant 2 % of the pixels: camera noise
WINDOW_RADIUS = 4  # pixels: neighborhood that must be constant too, which excludes flat road
MIN_SHARE = 0.004  # share of the image below which nothing is masked

Polygon = Sequence[Sequence[float]]  # corners (x, y)


def with_ego_masks(scene: SceneData) -> SceneData:
    """Remove the ego vehicle from the "valid" mask of every frame, with one mask per camera.

    Up to `NUM_FRAMES` images of each camera are read, before undistortion.

    Raises:
        ValueError: a camera has fewer than 4 frames.
    """
    masks = {camera: ego_mask([f for f in scene.frames if f.camera == camera]) for camera in scene.cameras}
    return replace(scene, frames=tuple(_without(frame, masks[frame.camera]) for frame in scene.frames))


def with_outlines(scene: SceneData, outlines: Mapping[str, Sequence[Polygon]]) -> SceneData:
    """Remove polygons from the "valid" mask of every frame.

    They cover paint and glass of the ego vehicle with reflections, which are not constant, so `ego_mask` misses them.

    Args:
        scene: the log; masks are before undistortion.
        outlines: by camera: polygons whose corners (x, y) are shares of the image's width and height. Other cameras
            keep their masks.

    Raises:
        ValueError: there is no such camera, or a polygon is invalid.
    """
    for camera, polygons in outlines.items():
        if camera not in scene.cameras:
            raise ValueError(f"scene {scene.name!r} has no camera {camera!r}; it has {', '.join(scene.cameras)}.")
        for polygon in polygons:
            if np.ndim(polygon) != 2 or np.shape(polygon)[1] != 2 or len(polygon) < 3:
                raise ValueError(f"invalid outline of {camera}: {polygon!r}; expected 3 or more corners (x, y).")
    frames = (_without(f, polygon_mask(outlines.get(f.camera, ()), f.width, f.height)) for f in scene.frames)
    return replace(scene, frames=tuple(frames))


def polygon_mask(polygons: Sequence[Polygon], width: int, height: int) -> Bool[np.ndarray, "{height} {width}"]:
    """Rasterize polygons to a mask of the pixels inside any of them; corners as in `with_outlines`."""
    mask = Image.new("1", (width, height))
    for polygon in polygons:
        # A pixel is inside if its center is; coordinates of the drawing start at the center of the first pixel.
        ImageDraw.Draw(mask).polygon([(x * width - 0.5, y * height - 0.5) for x, y in polygon], fill=1)
    return np.asarray(mask)


def _without(frame: Frame, ego: Bool[np.ndarray, "H W"]) -> Frame:
    """Mark the pixels of the ego vehicle as not valid."""
    if not ego.any():
        return frame
    valid = frame.masks.get("valid")

    def compute() -> Float32[np.ndarray, "H W"]:
        return (~ego).astype(np.float32) * (1.0 if valid is None else valid.load())

    return replace(frame, masks={**frame.masks, "valid": Source(f"ego vehicle in {frame.camera}", compute)})


def ego_mask(frames: list[Frame]) -> Bool[np.ndarray, "H W"]:
    """Segment the ego vehicle: pixels that are constant over time and connected to the bottom of the image.

    A road without texture is constant too while the vehicle drives straight on, but it and its neighborhood vary a
    little more than paint. So both a pixel and its neighborhood must be constant.

    Raises:
        ValueError: there are fewer than 4 frames.
    """
    if len(frames) < 4:
        raise ValueError(
            f"{len(frames)} frame(s) are too few for a mask of the ego vehicle; use 4 or more, or outlines."
        )
    sample = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, NUM_FRAMES).round().astype(int))]
    deviation = _deviation(np.stack([frame.image.load() for frame in sample]))
    constant = deviation < min(MAX_DEVIATION, NOISE_FACTOR * np.percentile(deviation, 2))
    opened = ndimage.binary_opening(constant, np.ones((3, 3)))
    labels = np.asarray(ndimage.label(opened)[0])  # pyright: ignore[reportIndexIssue] (the stub lacks the tuple)
    bottom = np.unique(labels[-2:])
    mask = np.asarray(ndimage.binary_fill_holes(np.isin(labels, bottom[bottom > 0])))
    return mask if mask.mean() >= MIN_SHARE else np.zeros_like(mask)


def _deviation(images: Float[np.ndarray, "T H W 3"]) -> Float[np.ndarray, "H W"]:
    """Compute the median absolute deviation over time, and its 80th percentile over a window."""
    deviation = np.median(np.abs(images - np.median(images, 0)), 0).max(-1)
    return ndimage.percentile_filter(deviation, 80, size=WINDOW_RADIUS * 2 + 1)
