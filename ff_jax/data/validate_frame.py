"""Validate the frames of a log: names, times, cameras, and the headers of their files."""

from collections.abc import Iterator
from functools import partial

import numpy as np
from jaxtyping import Float

from ff_jax.data import validate_rules as rules
from ff_jax.data.lazy_arrays import ImageFile, MaskFile, Source, image_size
from ff_jax.data.lenses import SIZES, distort
from ff_jax.data.scene_data import MASKS, SPLITS, Frame, Readout, SceneData

FOCAL_RANGE = (0.1, 20.0)  # focal length over image width: from beyond fisheye to a strong telephoto lens
MAX_IMAGE_SIDE = 32_768  # pixels
MAX_EXPOSURE_ID = 1_000_000  # every id up to the largest has parameters; `open_log` numbers them densely
MAX_READOUT = (1.0, 10.0)  # rad and meters of motion during the read-out of one image
MIN_COVERED = 0.5  # smallest share of an undistorted image that the distorted one covers


def frame_problems(scene: SceneData, frame: Frame, step: float) -> Iterator[str]:
    """Give the problems of one frame, without its files; `step` is the period of the log, seconds."""
    yield from rules.name("camera", frame.camera)
    if frame.split not in SPLITS:
        yield f"split = {frame.split!r}; use one of {', '.join(SPLITS)}"
    if not 0 <= frame.exposure_id <= MAX_EXPOSURE_ID:
        what = "negative" if frame.exposure_id < 0 else f"more than {MAX_EXPOSURE_ID}"
        yield f"exposure_id = {frame.exposure_id} is {what}; number exposures from 0"
    yield from (f"mask {k!r} does not exist; use one of {', '.join(MASKS)}" for k in set(frame.masks) - set(MASKS))
    if frame.readout is not None:
        yield from _readout(frame.readout)
    intrinsics = list(_intrinsics(frame))
    yield from intrinsics
    if frame.distortion is not None:
        yield from _distortion(frame, frame.distortion, is_checked=not intrinsics)
    yield from rules.rigid("world_from_camera", frame.world_from_camera)
    yield from rules.time_index(scene, frame.time_index) or _placement(scene, frame, step)


def file_problems(frame: Frame, *, decode: bool) -> Iterator[str]:
    """Give the problems of the image and the masks of a frame: of their headers, or with `decode` of all pixels."""
    sources = {"image": (frame.image, (frame.height, frame.width, 3))}
    sources |= {f"{kind} mask": (s, (frame.height, frame.width)) for kind, s in frame.masks.items()}
    for name, (source, shape) in sources.items():
        if isinstance(source, ImageFile | MaskFile):
            size = rules.result_or_error(partial(image_size, source.path))
            if isinstance(size, str):
                yield f"{name}: {size}"
                continue
            if size != (frame.width, frame.height):
                yield (
                    f"the {name} {source.path} is {size[0]}x{size[1]}, the frame says "
                    f"{frame.width}x{frame.height}; correct one of them"
                )
                continue
        if decode:
            yield from _pixels(name, source, shape)


def _placement(scene: SceneData, frame: Frame, step: float) -> Iterator[str]:
    """Compare the time and the position of a frame with those of the ego vehicle."""
    time = scene.times[frame.time_index]
    if not np.isfinite(frame.time) or abs(frame.time - time) > step:
        yield f"time = {frame.time} is far from {time} s of its time index; use seconds from the start"
    pose, reach = frame.world_from_camera, rules.MAX_CAMERA_DISTANCE
    yield from rules.near_vehicle(scene, "camera", frame.time_index, pose, reach)


def _intrinsics(frame: Frame) -> Iterator[str]:
    K, size = frame.K, f"{frame.width}x{frame.height}"
    if not (1 <= frame.width <= MAX_IMAGE_SIDE and 1 <= frame.height <= MAX_IMAGE_SIDE):
        yield f"the image size is {size}; use pixels, at most {MAX_IMAGE_SIDE} a side"
        return
    if not np.isfinite(K).all():
        yield f"K has a value that is not finite: {K.tolist()}; calibrate the camera"
        return
    if not np.array_equal(K[2], [0, 0, 1]) or K[1, 0] != 0 or K[0, 1] != 0:
        yield f"K = {K.tolist()} is not [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]; rectify the camera"
    for name, focal in (("fx", K[0, 0]), ("fy", K[1, 1])):
        if not FOCAL_RANGE[0] <= focal / frame.width <= FOCAL_RANGE[1]:
            yield f"{name} = {focal} px does not fit an image of {size}; use K in pixels of this image"
    if not (0 < K[0, 2] < frame.width and 0 < K[1, 2] < frame.height):
        yield f"the principal point ({K[0, 2]}, {K[1, 2]}) is outside the image of {size}; correct K"


def _readout(readout: Readout) -> Iterator[str]:
    motion, (turn, move) = readout.motion, MAX_READOUT
    if not np.isfinite(motion).all():
        yield f"readout.motion = {motion.tolist()}; use six finite numbers, or no readout"
    elif np.linalg.norm(motion[:3]) > turn or np.linalg.norm(motion[3:]) > move:
        yield f"readout.motion = {motion.tolist()} exceeds {turn:g} rad or {move:g} m during one image; correct it"


def _distortion(frame: Frame, values: Float[np.ndarray, "n"], *, is_checked: bool) -> Iterator[str]:
    """Check the coefficients, and, where K is right, that they lead most of the image to pixels of the file."""
    if len(values) not in SIZES or not np.isfinite(values).all():
        yield f"distortion = {values.tolist()}; use 5 (k1, k2, p1, p2, k3) or 12 finite numbers, or null"
    elif is_checked and (share := _covered(frame, values)) < MIN_COVERED:
        yield (
            f"distortion = {values.tolist()} leaves {share:.0%} of the image (less than {MIN_COVERED:.0%}); "
            "use the coefficients k1, k2, p1, p2, k3 of OpenCV"
        )


def _covered(frame: Frame, distortion: np.ndarray) -> float:
    """Measure the share of the image where the distortion leads into the image and does not fold it."""
    v, u = np.mgrid[:12, :16]
    step = np.array([frame.width / 15 / frame.K[0, 0], frame.height / 11 / frame.K[1, 1]])
    rays = np.stack([u * step[0] - frame.K[0, 2] / frame.K[0, 0], v * step[1] - frame.K[1, 2] / frame.K[1, 1]], -1)
    with np.errstate(over="ignore", invalid="ignore"):
        bent = distort(rays, distortion)
        pixels = bent * np.diag(frame.K)[:2] + frame.K[:2, 2]
        right, down = np.diff(bent[:-1], axis=1), np.diff(bent[:, :-1], axis=0)
        is_upright = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0] > 0
        is_upright &= (bent * rays).sum(-1)[:-1, :-1] >= 0  # beyond two folds an image is turned, not mirrored
        is_inside = np.all((pixels >= 0) & (pixels <= [frame.width, frame.height]), axis=-1)
    return float(np.mean(is_upright & is_inside[:-1, :-1]))


def _pixels(name: str, source: Source, shape: tuple[int, ...]) -> Iterator[str]:
    pixels = rules.result_or_error(source.load)
    if isinstance(pixels, str):
        yield f"{name}: {pixels}"
    elif pixels.shape != shape:
        yield f"the {name} has shape {pixels.shape}, expected {shape}; correct one of them"
    elif not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
        yield f"the {name} has values outside [0, 1], from {pixels.min()} to {pixels.max()}; scale it"
