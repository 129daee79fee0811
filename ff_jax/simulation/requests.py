"""Check what a client asks for, and convert it to numbers of the renderer; no scene is needed for it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from ff_jax.simulation.cameras import Exposure, exposure_of
from ff_jax.simulation.encoding import Encoding, encoding_of
from ff_jax.simulation.errors import RequestError
from ff_jax.simulation.frames_of_reference import to_matrix
from ff_jax.simulation.intrinsics import Intrinsics, intrinsics_of
from ff_jax.simulation.limits import Limits

MAX_TIME = 1 << 53  # microseconds: exact as a float


@dataclasses.dataclass(frozen=True, eq=False)
class ImageRequest:
    """One image of a scene.

    Attributes:
        scene_id: of the scene.
        camera: name of the camera; "" for none of the scene's.
        intrinsics: of the sensor; None takes those of the scene's camera.
        size: (width, height) of the image in pixels; None is that of the sensor.
        exposure: the pose of the camera.
        time: of the image, seconds: the end of its exposure.
        objects: local_from_object of every object that is present, by track id.
        encoding: of the answer.
    """

    scene_id: str
    camera: str
    intrinsics: Intrinsics | None
    size: tuple[int, int] | None
    exposure: Exposure
    time: float
    objects: dict[str, Float[np.ndarray, "4 4"]]
    encoding: Encoding


def parse_image_request(request: Any, limits: Limits) -> ImageRequest:
    """Convert an `RGBRenderRequest` message.

    Raises:
        RequestError: it asks for something that is invalid, not supported, or too large.
    """
    if request.insert_ego_mask:
        raise RequestError("insert_ego_mask needs a mask, but get_available_ego_masks lists none: leave it off.")
    if not request.frame_start_us <= request.frame_end_us <= MAX_TIME:
        raise RequestError(
            f"invalid frame_start_us={request.frame_start_us}, frame_end_us={request.frame_end_us}: "
            f"expected start <= end <= {MAX_TIME}."
        )
    spec = request.camera_intrinsics
    return ImageRequest(
        scene_id=request.scene_id,
        camera=spec.logical_id,
        intrinsics=intrinsics_of(spec),
        size=_size(request, limits),
        exposure=exposure_of(request.sensor_pose, spec.shutter_type),
        time=1e-6 * request.frame_end_us,
        objects=_objects(request.dynamic_objects, limits),
        encoding=encoding_of(request.image_format, request.image_quality),
    )


def _size(request: Any, limits: Limits) -> tuple[int, int] | None:
    """Read the size of the image: that of the request, or else that of the sensor; None if there is neither."""
    spec = request.camera_intrinsics
    size = request.resolution_w, request.resolution_h
    if size == (0, 0) and spec.WhichOneof("camera_param"):
        size = spec.resolution_w, spec.resolution_h
    if size == (0, 0):
        return None
    if 0 in size:
        raise RequestError(f"invalid resolution {size[0]} x {size[1]}: expected at least 1 pixel per side.")
    check_pixels([size], limits)
    return size


def check_pixels(sizes: Sequence[tuple[int, int]], limits: Limits) -> None:
    """Check the pixels of all images of one call.

    Raises:
        RequestError: there are too many.
    """
    if (count := sum(width * height for width, height in sizes)) > limits.pixels:
        text = f"{sizes[0][0]} x {sizes[0][1]}" if len(sizes) == 1 else f"{len(sizes)} images"
        raise RequestError(f"{text} are {count} pixels in one call: expected at most {limits.pixels}.")


def _objects(objects: Sequence[Any], limits: Limits) -> dict[str, Float[np.ndarray, "4 4"]]:
    """Read the poses of all objects at the end of the exposure."""
    if len(objects) > limits.objects:
        raise RequestError(f"{len(objects)} dynamic objects in one image: expected at most {limits.objects}.")
    poses = {}
    for item in objects:
        if item.track_id in poses:
            raise RequestError(f"track id {item.track_id!r} is listed twice: expected each object once.")
        name = f"pose of object {item.track_id!r}"
        if not item.HasField("pose_pair"):
            raise RequestError(f"invalid {name}: expected a pose_pair in the local frame.")
        pair = item.pose_pair
        poses[item.track_id] = to_matrix(pair.end_pose if pair.HasField("end_pose") else pair.start_pose, name)
    return poses


def parse_batch(request: Any, limits: Limits) -> list[tuple[str, ImageRequest | RequestError]]:
    """Convert a `BatchRGBRenderRequest` message: the name of every item with its request, or why it is refused.

    Raises:
        RequestError: there are too many items or pixels, or two items have one name.
    """
    if not 1 <= len(request.items) <= limits.items:
        raise RequestError(f"{len(request.items)} items in one batch: expected 1 to {limits.items}.")
    names = [item.camera_name for item in request.items]
    for name in names:
        if names.count(name) > 1:
            raise RequestError(f"camera_name {name!r} is listed twice: expected each camera once.")
    parsed = []
    for item in request.items:
        try:
            parsed.append((item.camera_name, parse_image_request(item.request, limits)))
        except RequestError as error:
            parsed.append((item.camera_name, error))
    check_pixels([r.size for _, r in parsed if isinstance(r, ImageRequest) and r.size], limits)
    return parsed
