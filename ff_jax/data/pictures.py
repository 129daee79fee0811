"""Choose pictures of a drive from a video or a folder: sharp ones, evenly spaced in time."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy import ndimage

from ff_jax.data.file_names import IMAGE_SUFFIXES, natural_key
from ff_jax.data.lazy_arrays import read_image
from ff_jax.runtime.untrusted_files import reason

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mts")
PERIOD = 0.1  # seconds between the images of a folder, which have no times
_SHARPNESS_SIDE = 320  # pixels across, of the images whose sharpness is compared

Array = np.ndarray


class Picture(NamedTuple):
    """One chosen picture."""

    file: Path
    time: float  # seconds from the first one


def find_pictures(path: Path) -> Path | list[Path]:
    """Find the video or the images at `path`: a video file, or a folder with one video, images, or images in images/.

    Returns:
        The video, or the images in natural order; no images if there is neither.
    """
    if path.is_file():
        return path if path.suffix.lower() in VIDEO_SUFFIXES else []
    for folder in (path, path / "images", path / "input"):
        files = sorted((file for file in folder.glob("*") if file.is_file()), key=natural_key)
        images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
        videos = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
        if images or len(videos) == 1:
            return images or videos[0]
    return []


def choose_pictures(path: Path, count: int, folder: Path) -> list[Picture]:
    """Choose at most `count` pictures: the sharpest one of each of as many equal parts.

    Args:
        path: a video, or a folder that holds one video or images.
        count: largest number of pictures.
        folder: receives the frames of a video, as PNG files.

    Raises:
        ValueError: there is no video and no image, or the video cannot be decoded.
    """
    found = find_pictures(path)
    return _from_video(found, count, folder) if isinstance(found, Path) else _from_images(path, found, count)


def _from_images(path: Path, files: Sequence[Path], count: int) -> list[Picture]:
    """Choose the sharpest image of each part."""
    if len(files) < 2:
        raise ValueError(f"{path} holds {len(files)} images and no video; expected a video or a folder of images.")
    if len(files) <= count:
        return [Picture(file, PERIOD * i) for i, file in enumerate(files)]
    parts = np.array_split(np.arange(len(files)), count)
    chosen = [max(part, key=lambda i: sharpness(read_image(files[i]))) for part in parts]
    return [Picture(files[i], PERIOD * float(i - chosen[0])) for i in chosen]


def _from_video(path: Path, count: int, folder: Path) -> list[Picture]:
    """Decode a video once, and write the sharpest frame of each part."""
    import imageio_ffmpeg

    try:
        total, seconds = imageio_ffmpeg.count_frames_and_secs(str(path))
        decoder = imageio_ffmpeg.read_frames(str(path))
        width, height = next(decoder)["size"]
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path}: the video cannot be decoded ({reason(error)}); convert it to MP4.") from error
    if not total or not seconds or total < 2:
        raise ValueError(f"{path}: the video has {total or 0} frame(s); expected at least two.")
    best: dict[int, tuple[float, int, Array]] = {}
    for number, data in enumerate(decoder):
        frame, part = np.frombuffer(data, np.uint8).reshape(height, width, 3), min(number * count // total, count - 1)
        score = sharpness(frame / np.float32(255))
        if part not in best or score > best[part][0]:
            best[part] = score, number, frame
        _write_finished(folder, best, part)
    _write_finished(folder, best, None)
    numbers = sorted(number for _, number, _ in best.values())
    return [Picture(_frame_file(folder, n), (n - numbers[0]) * seconds / total) for n in numbers]


def _write_finished(folder: Path, best: dict[int, tuple[float, int, Array]], current: int | None) -> None:
    """Write the frames of all parts but the current one, and drop their pixels."""
    for part, (score, number, frame) in best.items():
        if part != current and frame.size:
            Image.fromarray(frame).save(_frame_file(folder, number))
            best[part] = score, number, np.zeros((0, 0, 3), np.uint8)


def _frame_file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.png"


def sharpness(image: Float[Array, "H W 3"]) -> float:
    """Measure the sharpness of an image: the variance of its Laplacian."""
    step = max(image.shape[1] // _SHARPNESS_SIDE, 1)
    gray = image[..., 1]
    # Averaging over neighbors first leaves out the noise of the sensor, which is sharp in every image.
    return float(ndimage.laplace(ndimage.uniform_filter(gray, step)[::step, ::step]).var())
