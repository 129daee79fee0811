"""Project 3D boxes to an image: axis-aligned hulls, the share that is occluded, and the pixels of moving actors.

Poses are world_from_object (x forward, y left, z up, origin in the center), sizes length, width, height in meters;
pixels have their centers at .5, so an image covers [0, width] x [0, height]; depth is z of the camera, in meters.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ff_jax.data.scene_data import Frame, SceneData, boxes_at, invert_rigid

Array = np.ndarray

NEAR = 0.1  # meters: distance of the clipping plane
SAMPLES = 24  # points along either axis of a hull at which occlusion is tested
SLACK = 0.5  # meters by which a depth map must be nearer than a box to hide it: labels are tight, depth is inexact
MARGIN = 3  # pixels around the hull of an actor: shadow edges, and boxes that are slightly wrong

CORNERS = np.array([[x, y, z] for x in (1, -1) for y in (1, -1) for z in (1, -1)]) / 2  # of a box of size 1
EDGES = np.array([pair for pair in combinations(range(8), 2) if np.abs(CORNERS[pair[0]] - CORNERS[pair[1]]).sum() == 1])


class ProjectedBoxes(NamedTuple):
    """Boxes in an image. A hull bounds the part in front of the plane at `NEAR`; NaN where there is none."""

    hulls: Float[Array, "N 4"]  # left, top, right, bottom; pixels, not clipped to the image
    depth: Float[Array, "N"]  # of the center, meters; negative behind the camera
    nearest: Float[Array, "N"]  # smallest depth of a corner, meters
    in_front: Bool[Array, "N"]  # all corners are beyond NEAR
    fully_inside: Bool[Array, "N"]  # in front, and the hull is in the image
    partly_inside: Bool[Array, "N"]  # the hull shares some area with the image


def corners(world_from_object: Float[Array, "N 4 4"], size: Float[Array, "N 3"]) -> Float[Array, "N 8 3"]:
    """Compute the corners of boxes in the world, in the order of `CORNERS`."""
    local = CORNERS * size[:, None]
    return np.einsum("nij,nkj->nki", world_from_object[:, :3, :3], local) + world_from_object[:, None, :3, 3]


def project_boxes(
    world_from_object: Float[Array, "N 4 4"],
    size: Float[Array, "N 3"],
    K: Float[Array, "3 3"],
    world_from_camera: Float[Array, "4 4"],
    width: int,
    height: int,
) -> ProjectedBoxes:
    """Project boxes to a pinhole camera.

    A box across the plane at `NEAR` is clipped there, because corners behind the camera would be mirrored: its hull
    bounds the corners beyond the plane and the points where its edges pass through the plane.

    Args:
        world_from_object: poses of the boxes.
        size: of the boxes, meters.
        K: of the camera, pixels.
        world_from_camera: pose of the camera.
        width: of the image, pixels.
        height: of the image, pixels.
    """
    camera_from_object = invert_rigid(world_from_camera) @ world_from_object
    points = corners(camera_from_object, size)
    hulls = _hulls(_clip(points), K)
    inside = np.clip(hulls, 0, [width, height, width, height])
    in_front = np.all(points[..., 2] >= NEAR, axis=1)
    return ProjectedBoxes(
        hulls=hulls,
        depth=camera_from_object[:, 2, 3],
        nearest=points[..., 2].min(1),
        in_front=in_front,
        fully_inside=in_front & np.all(inside == hulls, axis=1),
        # A comparison with NaN is false.
        partly_inside=np.all(inside[:, 2:] > inside[:, :2], axis=1),
    )


def occluded_share(
    world_from_object: Float[Array, "N 4 4"],
    size: Float[Array, "N 3"],
    K: Float[Array, "3 3"],
    world_from_camera: Float[Array, "4 4"],
    width: int,
    height: int,
    depth: Float[Array, "height width"] | None = None,
) -> Float[Array, "N"]:
    """Estimate the share of each box in the image that other boxes, or the surface of a depth map, occlude.

    Rays pass through `SAMPLES` x `SAMPLES` pixels of the hull. Of the rays that hit the box, those are occluded that
    enter another box first, or whose value in `depth` is smaller by `SLACK`. Boxes are solid: a car behind the windows
    of another one is occluded. 0 for boxes outside the image.

    Args:
        world_from_object: poses of boxes of all kinds; anything can hide a vehicle.
        size: of the boxes, meters.
        K: of the camera, pixels.
        world_from_camera: pose of the camera.
        width: of the image, pixels.
        height: of the image, pixels.
        depth: z of the visible surface, meters; infinite (or NaN) where there is none.
    """
    projected = project_boxes(world_from_object, size, K, world_from_camera, width, height)
    object_from_camera = invert_rigid(invert_rigid(world_from_camera) @ world_from_object)
    shares = np.zeros(len(size))
    for i in np.flatnonzero(projected.partly_inside):
        pixels = _grid(np.clip(projected.hulls[i], 0, [width, height, width, height]))
        entries = _entry_depths(pixels, K, object_from_camera, size)
        own = entries[:, i]
        occluded = np.delete(entries, i, 1).min(1, initial=np.inf) < own
        if depth is not None:
            column, row = np.minimum(pixels.astype(int), [width - 1, height - 1]).T
            occluded |= depth[row, column] < own - SLACK
        hit = np.isfinite(own)
        shares[i] = occluded[hit].mean() if hit.any() else 0.0
    return shares


def actor_region(scene: SceneData, frame: Frame, names: tuple[str, ...]) -> Bool[Array, "H W"]:
    """Mark the pixels within `MARGIN` of the hulls of some tracks at the time of a frame.

    Args:
        scene: the log with the boxes.
        frame: the camera and the time.
        names: track ids of the actors.
    """
    region = np.zeros((frame.height, frame.width), bool)
    boxes = [box for box in boxes_at(scene, frame.time_index) if box.track_id in names]
    if not boxes:
        return region
    poses, sizes = np.stack([box.world_from_object for box in boxes]), np.stack([box.size for box in boxes])
    projected = project_boxes(poses, sizes, frame.K, frame.world_from_camera, frame.width, frame.height)
    for left, top, right, bottom in projected.hulls[projected.partly_inside]:
        rows = slice(max(int(top - MARGIN), 0), max(int(bottom + MARGIN) + 1, 0))
        region[rows, max(int(left - MARGIN), 0) : max(int(right + MARGIN) + 1, 0)] = True
    return region


def _clip(points: Float[Array, "N 8 3"]) -> Float[Array, "N 20 3"]:
    """Clip boxes at the near plane: the corners beyond it and the 12 edge crossings, camera axes; the rest is NaN."""
    start, end = points[:, EDGES[:, 0]], points[:, EDGES[:, 1]]
    crosses = (start[..., 2] < NEAR) != (end[..., 2] < NEAR)
    rise = np.where(crosses, end[..., 2] - start[..., 2], 1.0)
    share = (NEAR - start[..., 2]) / rise
    passing = np.where(crosses[..., None], start + share[..., None] * (end - start), np.nan)
    return np.concatenate([np.where(points[..., 2:] >= NEAR, points, np.nan), passing], 1)


def _hulls(points: Float[Array, "N P 3"], K: Float[Array, "3 3"]) -> Float[Array, "N 4"]:
    pixels = (points @ K.T)[..., :2] / points[..., 2:]
    # fmin and fmax skip NaN.
    low = np.fmin.reduce(pixels, 1, initial=np.inf)
    high = np.fmax.reduce(pixels, 1, initial=-np.inf)
    hulls = np.concatenate([low, high], 1)
    return np.where(np.isfinite(hulls), hulls, np.nan)


def _grid(box: Float[Array, "4"]) -> Float[Array, "S 2"]:
    """Divide a rectangle into `SAMPLES` x `SAMPLES` cells; return the pixel coordinates of their centers."""
    share = (np.arange(SAMPLES) + 0.5) / SAMPLES
    x, y = (box[i] + share * (box[i + 2] - box[i]) for i in (0, 1))
    return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)


def _entry_depths(
    pixels: Float[Array, "S 2"],
    K: Float[Array, "3 3"],
    object_from_camera: Float[Array, "N 4 4"],
    size: Float[Array, "N 3"],
) -> Float[Array, "S N"]:
    """Intersect the ray of every pixel with every box (slab method): depth of entry, infinite where it misses."""
    rays = np.concatenate([pixels, np.ones((len(pixels), 1))], 1) @ np.linalg.inv(K).T
    direction = np.einsum("nij,sj->sni", object_from_camera[:, :3, :3], rays)
    # Avoid a division by zero for rays along a face.
    direction = np.where(np.abs(direction) < 1e-12, 1e-12, direction)
    planes = np.stack([-size / 2, size / 2]) - object_from_camera[:, :3, 3]
    first, second = planes[:, None] / direction
    enter = np.minimum(first, second).max(-1)
    leave = np.maximum(first, second).min(-1)
    # Rays start at the near plane; their third component is 1, so the ray parameter is the depth.
    hits = (leave >= enter) & (leave >= NEAR)
    return np.where(hits, np.maximum(enter, NEAR), np.inf)
