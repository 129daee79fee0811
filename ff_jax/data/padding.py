"""Pad images to the size of the largest one, so that cameras of several image sizes train in one program."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import Rotation

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.loader import load_image, load_mask
from ff_jax.data.scene_data import Frame, Readout, invert_rigid

Array = np.ndarray


def largest_size(frames: Sequence[Frame]) -> tuple[int, int]:
    """Return the largest width and the largest height (pixels) of some frames, which may be of different frames."""
    return max(frame.width for frame in frames), max(frame.height for frame in frames)


def padded(frame: Frame, size: tuple[int, int]) -> Frame:
    """Extend the image of a frame to the right and at the bottom to `size` (width, height), with the same K.

    The new pixels repeat the edge and are not valid. A frame of this size is returned as it is.
    """
    if (frame.width, frame.height) == size:
        return frame
    world_from_camera, readout = _padded_readout(frame, size)
    kinds = {"valid", *frame.masks}
    return replace(
        frame,
        width=size[0],
        height=size[1],
        world_from_camera=world_from_camera,
        readout=readout,
        image=_padded_source(frame, "image", size),
        masks={kind: _padded_source(frame, kind, size) for kind in sorted(kinds)},
        distortion=None,
    )


def pad_image(
    image: Float32[Array, "H W *c"], size: tuple[int, int], *, fill: bool = False
) -> Float32[Array, "h w *c"]:
    """Extend an image to `size` (width, height) with its edge, or with zeros (`fill`)."""
    margins = [(0, size[1] - image.shape[0]), (0, size[0] - image.shape[1]), *[(0, 0)] * (image.ndim - 2)]
    return np.pad(image, margins, mode="constant" if fill else "edge")


def _padded_source(frame: Frame, kind: str, size: tuple[int, int]) -> Source:
    """Make the source of the padded image (kind "image") or of a padded mask of a frame."""

    def compute() -> Float32[Array, "h w *c"]:
        array = load_image(frame) if kind == "image" else load_mask(frame, kind)
        return pad_image(array, size, fill=kind == "valid")

    return Source(f"{kind} of {frame.image.name}, padded to {size[0]}x{size[1]}", compute)


def _padded_readout(frame: Frame, size: tuple[int, int]) -> tuple[Float[Array, "4 4"], Readout | None]:
    """Extend the readout of a frame to the lines of the padded image; the pose is that of its middle line."""
    if frame.readout is None:
        return frame.world_from_camera, None
    ratio = size[0] / frame.width if frame.readout.columns else size[1] / frame.height
    motion = frame.readout.motion
    step = np.eye(4)  # from the middle of the image to that of the padded image
    step[:3, :3] = Rotation.from_rotvec(motion[:3] * (ratio - 1) / 2).as_matrix()
    step[:3, 3] = motion[3:] * (ratio - 1) / 2
    return frame.world_from_camera @ invert_rigid(step), Readout(motion * ratio, frame.readout.columns)
