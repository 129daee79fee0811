"""Encode frames as MP4 one at a time."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import IO

import numpy as np
from jaxtyping import ArrayLike, Shaped, UInt8

from ff_jax.export.image_bytes import to_uint8
from ff_jax.runtime.atomic_files import atomic_write


class VideoError(OSError):
    """ffmpeg is missing or fails."""


def write_mp4(
    path: str | Path,
    frames: Iterable[Shaped[ArrayLike, "H W 3"]],
    fps: float | int = 10,
    *,
    quality: int = 18,
) -> int:
    """Encode frames as H.264 in yuv420p, which every browser plays; return the number of frames.

    The last row or column of an odd size is repeated, because the format needs even sizes. The file is written
    atomically.

    Args:
        path: file to write, ending in .mp4.
        frames: pictures of one size, colors in [0, 1] or uint8; consumed one at a time.
        fps: frames per second.
        quality: constant rate factor from 0 (lossless) to 51; 18 is visually lossless.

    Raises:
        ValueError: there are no frames, or their sizes differ.
        VideoError: ffmpeg is missing or fails.
        DiskFullError: the disk is full.
    """
    if not fps > 0:
        raise ValueError(f"{fps=} must be positive")
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError(f"no frames to write to {path}")
    first = _even(to_uint8(first))
    with atomic_write(path) as temporary, _encoder(temporary, first, fps, quality) as pipe:
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
    """Run ffmpeg on raw frames written to the yielded pipe."""
    height, width = first.shape[:2]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    # Without this tag browsers guess BT.709 or BT.601 from the size, which shifts the colors.
    tags = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
    colors = ["-vf", f"scale=out_color_matrix=bt709:out_range=tv,{tags}"]
    # The index at the front lets a browser start before it has the whole file.
    target = ["-c:v", "libx264", "-crf", str(quality), "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    # The prefix keeps a colon in the path from being taken for that of a protocol.
    command = [_ffmpeg(), "-y", "-loglevel", "error", *source, *colors, *target, f"file:{path.absolute()}"]
    with tempfile.TemporaryFile() as messages:
        try:
            process = Popen(command, stdin=PIPE, stderr=messages)
        except OSError as error:
            raise VideoError(f"{command[0]} cannot be started ({error.strerror}): install ffmpeg") from error
        assert process.stdin is not None
        try:
            yield process.stdin
            process.stdin.close()
        except BrokenPipeError as error:  # ffmpeg has ended early; its message has the reason
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
    """Find the ffmpeg program."""
    try:
        # Imported here because the package has no program for some platforms.
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise VideoError(
            "no ffmpeg program: install the package imageio[ffmpeg], or ffmpeg on the system path"
        ) from error


def _even(picture: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
