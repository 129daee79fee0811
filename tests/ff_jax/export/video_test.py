"""Videos: what goes in comes out, for every size and kind of frame."""

import re
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest

from ff_jax.export import video


def read(path, size):
    """The frames of a video by ffmpeg itself, and its message about the stream."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    result = subprocess.run(command, capture_output=True, check=True)
    return result.stderr.decode(), np.frombuffer(result.stdout, np.uint8).reshape(-1, *size, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_frames_come_back_with_even_size(tmp_path, dtype):
    ramp = np.linspace(0, 1, 33)[None, :, None] * np.ones((21, 1, 3))
    shades = [ramp * s for s in np.linspace(0.2, 1, 6)]
    frames = [(s * 255).astype(np.uint8) if dtype == np.uint8 else s.astype(dtype) for s in shades]
    path = tmp_path / "sub" / "a.mp4"
    assert video.write_mp4(path, (f for f in frames), fps=7.5) == 6
    assert [p.name for p in path.parent.iterdir()] == ["a.mp4"]
    facts, back = read(path, (22, 34))
    assert re.search(r"Video: h264.* yuv420p\(tv, bt709.* 34x22.* 7\.50? fps", facts) and len(back) == 6
    for shade, frame in zip(shades, back, strict=True):
        assert abs(frame[:21, :33] / 255 - shade).mean() < 0.02
        assert abs(frame[:, 33].astype(int) - frame[:, 32]).max() < 12


def test_frames_are_taken_one_at_a_time(tmp_path):
    alive = []

    def frames():
        for i in range(5):
            alive.append(i)
            yield np.full((16, 16, 3), i / 5)

    seen = []
    original = video.to_uint8

    def spy(frame):
        seen.append(len(alive))
        return original(frame)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video, "to_uint8", spy)
        video.write_mp4(tmp_path / "a.mp4", frames())
    assert seen == [1, 2, 3, 4, 5]


def test_bad_input_leaves_no_file(tmp_path):
    frame = np.zeros((16, 16, 3))
    with pytest.raises(ValueError, match="no frames"):
        video.write_mp4(tmp_path / "a.mp4", [])
    with pytest.raises(ValueError, match=r"frame 1 is \(16, 18, 3\), unlike the first \(16, 16, 3\)"):
        video.write_mp4(tmp_path / "a.mp4", [frame, np.zeros((16, 18, 3))])
    with pytest.raises(ValueError, match="fps=0"):
        video.write_mp4(tmp_path / "a.mp4", [frame], fps=0)
    with pytest.raises(ValueError, match="int64"):
        video.write_mp4(tmp_path / "a.mp4", [frame.astype(int)])
    assert not list(tmp_path.iterdir())


def test_missing_ffmpeg_is_said(tmp_path, monkeypatch):
    def missing():
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    with pytest.raises(video.VideoError, match=r"install the package imageio\[ffmpeg\]"):
        video.write_mp4(tmp_path / "a.mp4", [np.zeros((4, 4, 3))])


@pytest.mark.parametrize("ending", ["exit 3", "cat > /dev/null; exit 3"])
def test_a_failing_ffmpeg_gives_its_own_reason(tmp_path, monkeypatch, ending):
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\necho 'Unknown encoder libx264' >&2\n{ending}\n")
    program.chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(program))
    frames = (np.zeros((200, 200, 3)) for _ in range(20))
    with pytest.raises(video.VideoError, match=r"ffmpeg failed with code 3: Unknown encoder"):
        video.write_mp4(tmp_path / "a.mp4", frames)
    assert [p.name for p in tmp_path.iterdir()] == ["ffmpeg"]


def test_a_colon_in_the_path_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert video.write_mp4("2026-11-30T16:10/a.mp4", [np.zeros((16, 16, 3))]) == 1
    assert (tmp_path / "2026-11-30T16:10/a.mp4").stat().st_size > 0


def test_an_ffmpeg_that_cannot_be_started_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(tmp_path / "ffmpeg"))
    with pytest.raises(video.VideoError, match=r"ffmpeg cannot be started \(No such file"):
        video.write_mp4(tmp_path / "a.mp4", [np.zeros((16, 16, 3))])
    assert not list(tmp_path.iterdir())
