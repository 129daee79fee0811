"""Frames to MP4 as a stream: no more than one frame is in memory."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import IO

import numpy as np
from jaxtyping import ArrayLike, Shaped, UInt8

from ff_jax.export.image_bytes import to_uint8
from ff_jax.runtime.atomic_files import replacing


class VideoError(OSError):
    """There is no ffmpeg, or it fails."""


def write_mp4(
    path: str | Path,
    frames: Iterable[Shaped[ArrayLike, "H W 3"]],
    fps: float | int = 10,
    *,
    quality: int = 18,
) -> int:
    """Encode frames as H.264 in yuv420p, which every browser plays; return how many there were.

    Frames with an odd size get their last row or column repeated, as the format holds even sizes only. The
    file appears whole or not at all.

    Args:
        path: the file to write, ending in .mp4.
        frames: pictures of one size, colours in [0, 1] or uint8; taken one at a time.
        fps: frames a second.
        quality: constant rate factor from 0 (lossless) to 51; 18 is visually lossless.

    Raises:
        ValueError: if there are no frames, or their sizes differ.
        VideoError: if ffmpeg is missing or fails.
        DiskFullError: if the disk is full.
    """
    if not fps > 0:
        raise ValueError(f"{fps=} must be positive")
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError(f"no frames to write to {path}")
    first = _even(to_uint8(first))
    with replacing(path) as temporary, _encoder(temporary, first, fps, quality) as pipe:
        pipe.write(first.tobytes())
        count = 1
        for frame in frames:
            frame = _even(to_uint8(frame))
            if frame.shape != first.shape:
                raise ValueError(f"frame {count} is {frame.shape}, unlike the first {first.shape}")
            pipe.write(frame.tobytes())
            count += 1
    return count


@contextmanager
def _encoder(path: Path, first: UInt8[np.ndarray, "H W 3"], fps: float | int, quality: int) -> Iterator[IO[bytes]]:
    """Run ffmpeg on the raw frames that are written to the yielded pipe."""
    height, width = first.shape[:2]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    # Browsers take files without this tag for BT.709 or BT.601 by their size, and shift the colours.
    tags = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
    colour = ["-vf", f"scale=out_color_matrix=bt709:out_range=tv,{tags}"]
    # The index goes to the front, so that a browser starts before it has the whole file.
    target = ["-c:v", "libx264", "-crf", str(quality), "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    command = [_ffmpeg(), "-y", "-loglevel", "error", *source, *colour, *target, str(path)]
    with tempfile.TemporaryFile() as messages:
        process = Popen(command, stdin=PIPE, stderr=messages)
        try:
            yield process.stdin
            process.stdin.close()
        except BrokenPipeError as error:  # ffmpeg has ended early, and its own message says why
            raise VideoError(_failure(process.wait(), messages)) from error
        except BaseException:
            process.kill()
            process.wait()
            raise
        if code := process.wait():
            raise VideoError(_failure(code, messages))


def _failure(code: int, messages: IO[bytes]) -> str:
    messages.seek(0)
    return f"ffmpeg failed with code {code}: {messages.read().decode(errors='replace').strip()}"


def _ffmpeg() -> str:
    """Return the path of the ffmpeg program."""
    try:
        # Imported here because the package brings a program of its own, which not every platform has.
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise VideoError(
            "no ffmpeg program was found: install the package imageio[ffmpeg], or ffmpeg on the system path"
        ) from error


def _even(picture: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
